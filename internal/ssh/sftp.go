package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
)

// The protocol is draft-ietf-secsh-filexfer-02 with OpenSSH's extensions. Of
// what the server answers only handles, data, attributes and statuses are
// used, and never a path: what it calls its files leads nowhere.

const (
	// sftpStart is how long the subsystem may take to say its version; where
	// the guest is emulated, starting a program takes seconds.
	sftpStart = 30 * time.Second
	// sftpStall is how long a block, or one of the few steps around it, may
	// take. The library waits for ever.
	sftpStall = 2 * time.Minute
	// sftpBlock is what is read and written at a time, in packets side by
	// side; it is also the most that a transfer holds in memory.
	sftpBlock = 1 << 20
	// posixRename replaces what is there (PROTOCOL of OpenSSH, section 3.3);
	// the protocol's own rename refuses to.
	posixRename = "posix-rename@openssh.com"
)

var errStall = errors.New("the guest's sftp server does not answer")

// transfers is the SFTP side of a connection.
type transfers struct {
	mu    sync.Mutex
	idle  *transfer
	off   bool          // there is no use in it: no root, no subsystem, or a broken one
	start time.Duration // zero means sftpStart
	stall time.Duration // zero means sftpStall
}

// transfer is one SFTP session. One file goes through it at a time.
type transfer struct {
	session *session
	client  *sftp.Client
	stall   time.Duration
}

// transfer returns a session, or nil where files have to go through commands.
func (c *Client) transfer(ctx context.Context) (*transfer, error) {
	c.transfers.mu.Lock()
	defer c.transfers.mu.Unlock()
	if c.config.User != "root" || c.transfers.off {
		return nil, nil
	}
	if t := c.transfers.idle; t != nil {
		c.transfers.idle = nil
		return t, nil
	}
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	t := &transfer{session: s, stall: orDefault(c.transfers.stall, sftpStall)}
	err = t.within(ctx, orDefault(c.transfers.start, sftpStart), func() error {
		ok, err := s.channel.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
		if err != nil || !ok {
			return errors.Join(errors.New("no subsystem"), err)
		}
		go ssh.DiscardRequests(s.requests)
		go func() { _, _ = io.Copy(io.Discard, s.channel.Stderr()) }()
		client, err := sftp.NewClientPipe(s.channel, s.channel, sftp.UseConcurrentWrites(true))
		if err != nil {
			return err
		}
		if _, ok := client.HasExtension(posixRename); !ok {
			return errors.New("no " + posixRename)
		}
		t.client = client
		return nil
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil { // not worth an error: there is another way
		s.close()
		c.transfers.off = true
		return nil, nil
	}
	return t, nil
}

func orDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return d
}

// done keeps the session for the next file, unless this one failed. A server
// that breaks the protocol, or does not answer, is not asked again.
func (c *Client) done(t *transfer, err error) {
	c.transfers.mu.Lock()
	defer c.transfers.mu.Unlock()
	var status *sftp.StatusError
	var own ours
	switch {
	case err == nil && c.transfers.idle == nil && !c.transfers.off:
		c.transfers.idle = t
		return
	case err == nil, errors.As(err, &status), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.As(err, &own):
	default:
		c.transfers.off = true
	}
	t.session.close()
}

// ours is a failure that breaks nothing between the server and us.
type ours struct{ error }

func (o ours) Unwrap() error { return o.error }

// within runs fn, which knows no context, for at most limit. If that is too
// short the session is closed, which ends fn unless the server is hostile; then
// it ends with the connection.
func (t *transfer) within(ctx context.Context, limit time.Duration, fn func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w within %s", errStall, limit))
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- fn() }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		t.session.close()
		return context.Cause(ctx)
	}
}

// put writes the part, and places it if that needs no name of the guest's to
// be looked up; placed says so.
func (t *transfer) put(ctx context.Context, file guest.File, part string, content io.Reader) (placed bool, err error) {
	var f *sftp.File
	err = t.within(ctx, t.stall, func() (err error) {
		if info, err := answered(t.client.Lstat(file.Path)); err == nil && info.IsDir() {
			return ours{fault.Errorf(fault.Input, "it is a directory in the guest; name the file")}
		}
		if err := t.mkdirAll(path.Dir(file.Path)); err != nil {
			return err
		}
		_ = t.client.Remove(part) // what a lost connection left
		f, err = opened(t.client.OpenFile(part, createNew))
		return err
	})
	if err != nil {
		return false, err
	}
	for last := false; !last; {
		block := make([]byte, sftpBlock) // a new one: after a stall the old one may still be in use
		n, err := io.ReadFull(content, block)
		if last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); err != nil && !last {
			return false, ours{err}
		}
		if n == 0 {
			break
		}
		if err := t.within(ctx, t.stall, func() error { _, err := f.Write(block[:n]); return err }); err != nil {
			return false, err
		}
	}
	placed = rootOwned(file)
	return placed, t.within(ctx, t.stall, func() error {
		if !placed {
			return f.Close()
		}
		// The owner before the mode: a change of owner drops setuid.
		if err := t.ownedByRoot(f); err != nil {
			return err
		}
		if err := errors.Join(f.Chmod(fileMode(file.Mode)), f.Close()); err != nil {
			return err
		}
		return t.client.PosixRename(part, file.Path)
	})
}

// errNothing is a success that should have had something in it: the library
// makes a nil of it, or a value around one.
var errNothing = errors.New("the guest's sftp server answers that all is well, and nothing else")

func answered(info fs.FileInfo, err error) (fs.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	if stat, ok := info.Sys().(*sftp.FileStat); !ok || stat == nil {
		return nil, errNothing
	}
	return info, nil
}

func opened(f *sftp.File, err error) (*sftp.File, error) {
	if err == nil && f == nil {
		err = errNothing
	}
	return f, err
}

// ownedByRoot asks first: nearly always it is so already.
func (t *transfer) ownedByRoot(f *sftp.File) error {
	info, err := answered(f.Stat())
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*sftp.FileStat); ok && stat.UID == 0 && stat.GID == 0 {
		return nil
	}
	return f.Chown(0, 0)
}

// mkdirAll makes missing folders with the mode that they have on any system,
// whatever the server's umask.
func (t *transfer) mkdirAll(dir string) error {
	info, err := answered(t.client.Stat(dir))
	switch {
	case err == nil && info.IsDir(), dir == "/":
		return nil
	case err == nil:
		return ours{fault.Errorf(fault.Guest, "%s is not a directory in the guest", dir)}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := t.mkdirAll(path.Dir(dir)); err != nil {
		return err
	}
	if err := t.client.Mkdir(dir); err != nil {
		return err
	}
	return t.client.Chmod(dir, 0o755)
}

// procBlock fits into one packet. Files of the kernel's, whose size is zero,
// come in pieces, and the library takes a piece for the end where it reads
// several packets side by side.
const procBlock = 32 << 10

// get copies a file's content out, block by block.
func (t *transfer) get(ctx context.Context, name string, to io.Writer) error {
	var f *sftp.File
	var size int64
	err := t.within(ctx, t.stall, func() error {
		// Opening a pipe could wait for ever.
		info, err := answered(t.client.Stat(name))
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return ours{fault.Errorf(fault.Guest, "not a regular file in the guest")}
		}
		size = info.Size()
		f, err = opened(t.client.Open(name))
		return err
	})
	if err != nil {
		return err
	}
	block := make([]byte, sftpBlock)
	if size == 0 {
		block = block[:procBlock]
	}
	for done := int64(0); ; {
		n := 0
		err := t.within(ctx, t.stall, func() (err error) { n, err = f.Read(block); return err })
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return err // the block may still be in use
		case err == nil && n == 0:
			return errNothing
		}
		if _, errWrite := to.Write(block[:n]); errWrite != nil {
			return ours{errWrite}
		}
		if done += int64(n); err == nil {
			continue
		}
		if done < size {
			return fmt.Errorf("it ended after %d of %d bytes", done, size)
		}
		return t.within(ctx, t.stall, f.Close)
	}
}
