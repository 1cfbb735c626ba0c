package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Uncompress copies an initramfs with nothing in it compressed: for an emulated
// processor, which unpacks it slowly. Members that keep does not want are left
// out; nil keeps all. More than limit bytes are refused.
func Uncompress(w io.Writer, r io.Reader, limit int64, keep func(name string) bool) error {
	out := &counter{w: w, left: limit}
	return uncompress(out, r, keep)
}

func uncompress(out *counter, r io.Reader, keep func(name string) bool) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		what, zeros, err := next(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// The kernel looks for an archive at multiples of four only, and before a
		// compressed one there need not be any zeros.
		if err := out.zeros(padded(out.written+zeros) - out.written); err != nil {
			return err
		}
		if what == archive {
			if err := members(in, func(m member, content io.Reader) error { return out.member(m, content, keep) }); err != nil {
				return err
			}
			continue
		}
		z, err := open(what, in)
		if err != nil {
			return err
		}
		return errors.Join(uncompress(out, z, keep), z.Close())
	}
}

// counter writes at most so many bytes.
type counter struct {
	w             io.Writer
	written, left int64
}

// member copies one, if it is wanted. One whose content has several names is
// kept, as the content may be needed under another of them.
func (c *counter) member(m member, content io.Reader, keep func(name string) bool) error {
	if keep != nil && !m.isTrailer() && m.links < 2 && !keep(m.name) {
		return nil
	}
	if _, err := c.Write(m.header); err != nil {
		return err
	}
	if m.isTrailer() {
		return nil
	}
	if _, err := io.CopyN(c, content, m.bytes); err != nil {
		return fmt.Errorf("cpio archive: %s: %w", m.name, noEOF(err))
	}
	return c.zeros(m.padding)
}

func (c *counter) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		return 0, fmt.Errorf("over %d bytes without compression", c.written+c.left)
	}
	n, err := c.w.Write(p)
	c.written, c.left = c.written+int64(n), c.left-int64(n)
	return n, err
}

func (c *counter) zeros(n int64) error {
	block := make([]byte, 512)
	for n > 0 {
		some := min(n, int64(len(block)))
		if _, err := c.Write(block[:some]); err != nil {
			return err
		}
		n -= some
	}
	return nil
}
