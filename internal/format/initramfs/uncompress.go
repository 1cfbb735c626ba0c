package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Uncompress copies an initramfs with nothing in it compressed: for an emulated
// processor, which unpacks it slowly. More than limit bytes are refused.
func Uncompress(w io.Writer, r io.Reader, limit int64) error {
	out := &counter{w: w, left: limit}
	return uncompress(out, r)
}

func uncompress(out *counter, r io.Reader) error {
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
			if err := members(io.TeeReader(in, out), func(string) {}); err != nil {
				return err
			}
			continue
		}
		z, err := open(what, in)
		if err != nil {
			return err
		}
		return errors.Join(uncompress(out, z), z.Close())
	}
}

// counter writes at most so many bytes.
type counter struct {
	w             io.Writer
	written, left int64
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
