// Package chroot is the inside of a root filesystem directory, at native speed.
//
// Each Run happens in mount, PID, IPC and UTS namespaces of its own, with
// /proc, /sys, a private /dev, an empty /run and a resolver, so that neither a
// mount nor a background process can outlive it, even when imagebuild itself
// is killed. Package scripts are told not to start services. Where mounts are
// not allowed, as in a plain container, a Run is a bare chroot, and Limits
// says what is missing.
//
// Put and Get work from outside and resolve every symlink inside the root, so
// a hostile tree cannot lead them out of it.
//
//	root, err := chroot.Open(ctx, chroot.Options{Root: dir, Epoch: epoch})
//	err = root.Run(ctx, guest.Command{Argv: []string{"apt-get", "update"}})
//
// It refuses to work unless it is root (or mapped to root in a user
// namespace), and it is no sandbox: in the bare chroot a program that is root
// can break out. What a Run writes to /run, /dev or /etc/resolv.conf is lost.
package chroot

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/run"
)

//go:embed setup.sh
var setup string

// Options says which tree to work in.
type Options struct {
	// Root is the directory of the root filesystem.
	Root string
	// Epoch is what SOURCE_DATE_EPOCH says inside.
	Epoch time.Time
	// Env is added to the environment of every command, as KEY=value.
	Env []string
	// Plain does without namespaces and mounts even where they are allowed.
	Plain bool
}

// Chroot is a guest.Guest over a directory. It is safe for concurrent use.
type Chroot struct {
	root   string
	env    []string
	plain  bool
	limits []string

	mu        sync.Mutex
	active    int
	placed    []placed
	noDevices bool
}

var _ guest.Guest = (*Chroot)(nil)

// grace is short, because the first process of a Run ends all others as soon
// as it hears the signal.
const grace = time.Second

// Open finds out what is allowed here, by trying it once, and takes away what
// an earlier, killed process left in the tree.
func Open(ctx context.Context, options Options) (*Chroot, error) {
	root, err := filepath.Abs(options.Root)
	if err != nil {
		return nil, fault.Wrap(fault.Environment, err)
	}
	if os.Geteuid() != 0 {
		return nil, fault.Errorf(fault.Environment, "chroot into %s: not root; run as root, or in a user namespace that maps you to root", root)
	}
	// A path with a symlink in it would not match what the kernel says of a
	// process that runs inside.
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, fault.Wrap(fault.Environment, err)
	}
	c := &Chroot{root: root, plain: options.Plain}
	c.env = append(guestEnv(options.Epoch), options.Env...)
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp"} {
		mode := uint32(0o755)
		if dir == "/tmp" {
			mode = 0o1777
		}
		if err := c.makeDir(dir, mode); err != nil {
			return nil, err
		}
	}
	if err := c.sweep(); err != nil {
		return nil, err
	}
	if c.plain {
		if err := c.openPlain("mounts are switched off"); err != nil {
			return nil, err
		}
		return c, nil
	}
	limits, err := c.start(ctx, "probe", guest.Command{}, nil)
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		if err := c.openPlain(reason(err)); err != nil {
			return nil, err
		}
		return c, nil
	}
	for _, limit := range limits {
		c.limits = append(c.limits, "no "+limit+" inside the image's tree: the mount was refused")
	}
	return c, nil
}

// Limits says what commands will miss, one sentence each; empty means nothing.
func (c *Chroot) Limits() []string { return c.limits }

// Run implements guest.Guest.
func (c *Chroot) Run(ctx context.Context, command guest.Command) error {
	if len(command.Argv) == 0 {
		return errors.New("chroot: empty command")
	}
	return c.run(ctx, command, nil)
}

// run runs a command; sys, if it is not nil, gives it a terminal of its own.
func (c *Chroot) run(ctx context.Context, command guest.Command, sys func(*syscall.SysProcAttr)) (err error) {
	if err := c.acquire(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.release()) }()
	mode := "mounts"
	if c.plain {
		mode = "plain"
		// Here nothing else ends what a command left in the background.
		defer killInside(c.root)
	}
	_, err = c.start(ctx, mode, command, sys)
	var exit *run.ExitError
	if errors.As(err, &exit) {
		return &guest.ExitError{Argv: command.Argv, Status: exit.Status, Signal: exit.Signal}
	}
	return err
}

func (c *Chroot) start(ctx context.Context, mode string, command guest.Command, sys func(*syscall.SysProcAttr)) (limits []string, err error) {
	exports, err := c.exports(command.Env)
	if err != nil {
		return nil, err
	}
	dir := command.Dir
	if dir == "" {
		dir = "/"
	}
	resolv, err := c.resolverPath()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fault.Wrap(fault.Environment, err)
	}
	defer r.Close()
	stdin := command.Stdin
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "GUEST_ENV=" + exports}
	if sys != nil {
		env = append(env, "GUEST_TERMINAL=1")
	}
	process, err := run.Start(ctx, run.Spec{
		Argv:  append([]string{"/bin/sh", "-c", setup, "imagebuild-chroot", mode, c.root, resolv, dir}, command.Argv...),
		Dir:   "/",
		Env:   env,
		Stdin: stdin, Stdout: orDiscard(command.Stdout), Stderr: orDiscard(command.Stderr),
		ExtraFiles: []*os.File{w},
		Grace:      grace,
		Group:      mode == "plain",
		Sys: func(attr *syscall.SysProcAttr) {
			if mode != "plain" {
				attr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
			}
			if sys != nil {
				sys(attr)
			}
		},
	})
	_ = w.Close()
	if err != nil {
		return nil, err
	}
	limits, ready, trouble := readStatus(r)
	err = process.Wait()
	if ready || ctx.Err() != nil {
		return limits, err
	}
	return nil, fault.Errorf(fault.Environment, "set up %s for a command: %s", c.root, trouble)
}

// readStatus reads what the set-up script says until it closes its descriptor.
func readStatus(r io.Reader) (limits []string, ready bool, trouble string) {
	tail := &run.Tail{}
	lines := bufio.NewScanner(io.TeeReader(r, tail))
	for lines.Scan() {
		if limit, ok := strings.CutPrefix(lines.Text(), "limit "); ok {
			limits = append(limits, limit)
		}
		ready = ready || lines.Text() == "ready"
	}
	_, _ = io.Copy(io.Discard, r)
	return limits, ready, tail.String()
}

// guestEnv is the environment of every command: nothing of the caller's but
// the proxy settings, which are passed on and never written to a file.
func guestEnv(epoch time.Time) []string {
	var env []string
	for _, each := range run.Environ("SOURCE_DATE_EPOCH=" + strconv.FormatInt(epoch.Unix(), 10)) {
		if !strings.HasPrefix(strings.ToUpper(each), "TMPDIR=") { // a folder of the host's
			env = append(env, each)
		}
	}
	return env
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (c *Chroot) exports(extra []string) (string, error) {
	var b strings.Builder
	for _, list := range [][]string{c.env, extra} {
		for _, each := range list {
			name, value, ok := strings.Cut(each, "=")
			if !ok || !variableName.MatchString(name) || strings.ContainsRune(value, 0) {
				return "", fault.Errorf(fault.Input, "environment variable %q: a name has letters, digits and _, and a value has no zero byte", name)
			}
			b.WriteString("export " + name + "=" + run.Quote([]string{value}) + "\n")
		}
	}
	return b.String(), nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func reason(err error) string {
	switch {
	case errors.Is(err, syscall.EPERM), strings.Contains(err.Error(), "ermission denied"), strings.Contains(err.Error(), "not permitted"):
		return "mounts are not allowed here; in a container add the capability SYS_ADMIN"
	case errors.Is(err, syscall.ENOSPC):
		return "no more namespaces are allowed here; raise user.max_mnt_namespaces"
	}
	return err.Error()
}

// openPlain settles for a bare chroot.
func (c *Chroot) openPlain(why string) error {
	c.plain = true
	c.limits = append(c.limits, fmt.Sprintf("steps run without /proc, /sys and pseudo terminals, and share the host's processes: %s", why))
	if err := c.acquire(); err != nil { // tries what each Run will do
		return err
	}
	if c.noDevices {
		c.limits = append(c.limits, "steps run without /dev/null and its like; in a container add the capability MKNOD")
	}
	return c.release()
}
