// Package tarball writes and reads the tar archives that Vagrant boxes and OVAs
// are: deterministic USTAR out, and in whatever a stranger's tool made, as far
// as it is safe.
//
//	archive, err := tarball.Create("golden.box", epoch, tarball.Gzip)
//	defer archive.Abort()
//	err = archive.Add(ctx, "metadata.json", size, content)
//	sum, err := archive.Commit()
//
// What it writes has regular files only, in the order given: mode 0644, owner
// 0, no owner names, one time for all. It refuses members of 8 GiB and more,
// because USTAR has eleven octal digits for a size and readers of OVA know
// nothing else.
//
// Walk refuses links, devices, names that leave the archive's directory,
// duplicates, wrong checksums, non-zero padding, a missing end and anything
// after it. So each byte that is not a member's content is checked; the content
// is for the caller's digests to check.
package tarball

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
)

// blockBytes is the unit of a tar archive: IEEE Std 1003.1, pax, "ustar
// Interchange Format".
const blockBytes = 512

// MaxMemberBytes is the largest member that USTAR can describe: 8 GiB less one
// byte, in bytes.
const MaxMemberBytes = 1<<33 - 1

// maxNameBytes is the size of the name field. The prefix field is not used,
// because some readers of OVA ignore it.
const maxNameBytes = 100

// Writer writes an archive to a stream. It must be closed.
type Writer struct {
	w     io.Writer
	epoch time.Time
	names map[string]bool
	buf   []byte
	err   error // the first failure: after it the archive is lost
}

// NewWriter starts an archive whose members all carry the time epoch, in whole
// seconds.
func NewWriter(w io.Writer, epoch time.Time) *Writer {
	return &Writer{w: w, epoch: epoch, names: map[string]bool{}, buf: make([]byte, 1<<20)}
}

// Add writes one member of exactly sizeBytes. content must end there.
func (t *Writer) Add(ctx context.Context, name string, sizeBytes int64, content io.Reader) error {
	if t.err == nil {
		if t.err = t.add(ctx, name, sizeBytes, content); t.err != nil {
			t.err = fmt.Errorf("archive member %s: %w", name, t.err)
		}
	}
	return t.err
}

func (t *Writer) add(ctx context.Context, name string, sizeBytes int64, content io.Reader) error {
	switch {
	case sizeBytes > MaxMemberBytes:
		return fault.Errorf(fault.Input, "%d bytes are too many: a member of an OVA or box holds less than 8 GiB; "+
			"make the image's content smaller", sizeBytes)
	case len(name) > maxNameBytes:
		return fault.Errorf(fault.Input, "the name is longer than %d bytes; choose a shorter image name", maxNameBytes)
	case t.names[name]:
		return errors.New("added twice")
	}
	if clean, err := cleanName(name); err != nil || clean != name {
		return fault.Errorf(fault.Input, "not a plain relative file name")
	}
	t.names[name] = true
	header := render(name, sizeBytes, t.epoch)
	if _, err := t.w.Write(header[:]); err != nil {
		return err
	}
	if err := copyExactly(ctx, t.w, content, sizeBytes, t.buf); err != nil {
		return err
	}
	if n, err := content.Read(t.buf[:1]); n > 0 {
		return fmt.Errorf("the content is longer than the %d bytes announced", sizeBytes)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	_, err := t.w.Write(make([]byte, padding(sizeBytes)))
	return err
}

// AddBytes is Add for content in memory.
func (t *Writer) AddBytes(ctx context.Context, name string, content []byte) error {
	return t.Add(ctx, name, int64(len(content)), strings.NewReader(string(content)))
}

// Close writes the end of the archive: two blocks of zeros.
func (t *Writer) Close() error {
	if t.err != nil {
		return t.err
	}
	t.err = errors.New("the archive is closed")
	_, err := t.w.Write(make([]byte, 2*blockBytes))
	return err
}

// padding is how many zeros follow content of the size given, in bytes.
func padding(sizeBytes int64) int64 { return -sizeBytes & (blockBytes - 1) }

// render lays out the header block of a regular file.
func render(name string, sizeBytes int64, modTime time.Time) (block [blockBytes]byte) {
	copy(block[0:], name)
	copy(block[100:], "0000644\x00"+"0000000\x00"+"0000000\x00") // mode, uid, gid
	copy(block[124:], fmt.Sprintf("%011o\x00%011o\x00", sizeBytes, max(modTime.Unix(), 0)))
	block[156] = typeFile
	copy(block[257:], "ustar\x00"+"00")
	copy(block[329:], "0000000\x00"+"0000000\x00") // device numbers
	copy(block[148:], fmt.Sprintf("%06o\x00 ", checksum(&block)))
	return block
}

// checksum adds the header's bytes up, with spaces in place of the sum itself.
func checksum(block *[blockBytes]byte) (sum int) {
	for i, b := range block {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int(b)
	}
	return sum
}

// cleanName returns name without a leading "./" and refuses whatever could lie
// outside the directory that an archive is unpacked to, or look like it does.
func cleanName(name string) (string, error) {
	clean := path.Clean(strings.TrimSuffix(name, "/"))
	switch {
	case name == "", strings.HasPrefix(name, "/"), strings.ContainsRune(name, '\\'):
		return "", fmt.Errorf("member name %q is not relative", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("member name %q has control characters", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("member name %q leaves the archive's directory", name)
		}
	}
	return clean, nil
}

// copyExactly copies n bytes, looking at ctx between blocks.
func copyExactly(ctx context.Context, w io.Writer, r io.Reader, n int64, buf []byte) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		chunk := buf[:min(int64(len(buf)), n)]
		got, err := io.ReadFull(r, chunk)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("the content ends %d bytes early: %w", n-int64(got), io.ErrUnexpectedEOF)
			}
			return err
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		n -= int64(got)
	}
	return ctx.Err()
}
