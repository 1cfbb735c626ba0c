package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Names calls fn with the name of each member, in the archive's order.
func Names(r io.Reader, fn func(name string)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		what, _, err := next(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if what == archive {
			if err := members(in, fn); err != nil {
				return err
			}
			continue
		}
		z, err := open(what, in)
		if err != nil {
			return err
		}
		return errors.Join(Names(z, fn), z.Close())
	}
}

// members reads one archive up to and with its trailer.
func members(in io.Reader, fn func(name string)) error {
	header := make([]byte, headerBytes)
	for {
		if _, err := io.ReadFull(in, header); err != nil {
			return fmt.Errorf("cpio archive: %w", noEOF(err))
		}
		magic := string(header[:6])
		if magic != "070701" && magic != "070702" {
			return fmt.Errorf("cpio archive: a member starts with %q", magic)
		}
		size, err := strconv.ParseUint(string(header[54:62]), 16, 32)
		if err != nil {
			return fmt.Errorf("cpio archive: size of a member: %w", err)
		}
		length, err := strconv.ParseUint(string(header[94:102]), 16, 32)
		if err != nil || length == 0 || length > maxNameBytes {
			return fmt.Errorf("cpio archive: a name of %q bytes", header[94:102])
		}
		name := make([]byte, padded(headerBytes+int64(length))-headerBytes)
		if _, err := io.ReadFull(in, name); err != nil {
			return fmt.Errorf("cpio archive: %w", noEOF(err))
		}
		text := strings.TrimRight(string(name[:length]), "\x00")
		if text == trailer {
			return nil
		}
		fn(text)
		if _, err := io.CopyN(io.Discard, in, padded(int64(size))); err != nil {
			return fmt.Errorf("cpio archive: %s: %w", text, noEOF(err))
		}
	}
}

// padded rounds up to the alignment.
func padded(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }
