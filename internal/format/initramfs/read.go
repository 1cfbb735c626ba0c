package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Walk calls fn with the name of each member and its content, in the archive's
// order. What fn does not read of the content is skipped.
func Walk(r io.Reader, fn func(name string, content io.Reader) error) error {
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
			err := members(in, func(m member, content io.Reader) error {
				if m.isTrailer() {
					return nil
				}
				return fn(m.name, content)
			})
			if err != nil {
				return err
			}
			continue
		}
		z, err := open(what, in)
		if err != nil {
			return err
		}
		return errors.Join(Walk(z, fn), z.Close())
	}
}

// member is one of an archive.
type member struct {
	name    string
	header  []byte // as it stands in the archive, with the name and its padding
	bytes   int64  // of the content
	padding int64  // that follows it
	links   uint64 // how many names the content has; it comes with the last one
}

func (m member) isTrailer() bool { return m.name == trailer }

// members reads one archive up to and with its trailer, for which fn is called
// too.
func members(in io.Reader, fn func(m member, content io.Reader) error) error {
	for {
		m, err := nextMember(in)
		if err != nil {
			return err
		}
		content := &io.LimitedReader{R: in, N: m.bytes}
		if err := fn(m, content); err != nil {
			return err
		}
		if m.isTrailer() {
			return nil
		}
		if _, err := io.CopyN(io.Discard, in, content.N+m.padding); err != nil {
			return fmt.Errorf("cpio archive: %s: %w", m.name, noEOF(err))
		}
	}
}

func nextMember(in io.Reader) (m member, err error) {
	header := make([]byte, headerBytes)
	if _, err := io.ReadFull(in, header); err != nil {
		return m, fmt.Errorf("cpio archive: %w", noEOF(err))
	}
	if magic := string(header[:6]); magic != "070701" && magic != "070702" {
		return m, fmt.Errorf("cpio archive: a member starts with %q", magic)
	}
	size, err := strconv.ParseUint(string(header[54:62]), 16, 32)
	if err != nil {
		return m, fmt.Errorf("cpio archive: size of a member: %w", err)
	}
	if m.links, err = strconv.ParseUint(string(header[38:46]), 16, 32); err != nil {
		return m, fmt.Errorf("cpio archive: links of a member: %w", err)
	}
	length, err := strconv.ParseUint(string(header[94:102]), 16, 32)
	if err != nil || length == 0 || length > maxNameBytes {
		return m, fmt.Errorf("cpio archive: a name of %q bytes", header[94:102])
	}
	m.header = make([]byte, padded(headerBytes+int64(length)))
	name := m.header[copy(m.header, header):]
	if _, err := io.ReadFull(in, name); err != nil {
		return m, fmt.Errorf("cpio archive: %w", noEOF(err))
	}
	m.name = strings.TrimRight(string(name[:length]), "\x00")
	m.bytes = int64(size)
	m.padding = padded(m.bytes) - m.bytes
	return m, nil
}

// padded rounds up to the alignment.
func padded(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }
