package tarball

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
)

// Limits on what a stranger's archive may hold.
const (
	maxMembers     = 10_000
	maxRecordBytes = 1 << 20 // of pax records or a GNU long name
	maxTailBytes   = 1 << 20 // zeros after the end; GNU tar fills up to 10 KiB
)

// The values of the type flag that matter here.
const (
	typeFile    = '0'
	typeOldFile = 0
	typeDir     = '5'
	typePax     = 'x'
	typeGlobal  = 'g'
	typeGNUName = 'L'
)

// Member is one regular file of an archive.
type Member struct {
	Name        string // clean and relative
	SizeBytes   int64
	OffsetBytes int64 // of the content, in the uncompressed archive
	ModTime     time.Time
	// Canonical says that the header is, bit by bit, what Writer writes.
	Canonical bool
}

// Walk reads an archive from start to end and calls fn for every regular file;
// what fn leaves of content is read over. It stops at fn's first error, which
// it returns as it is. Whatever is wrong with the archive is the input's fault.
func Walk(ctx context.Context, r io.Reader, fn func(member Member, content io.Reader) error) error {
	walker := walker{ctx: ctx, r: r, seen: map[string]bool{}, buf: make([]byte, 32<<10)}
	for {
		more, err := walker.next(fn)
		if err != nil || !more {
			return err
		}
	}
}

type walker struct {
	ctx     context.Context //nolint:containedctx // lives as long as one call of Walk
	r       io.Reader
	offset  int64
	seen    map[string]bool
	members int
	long    extended // what extension headers say about the next member
	buf     []byte
}

// extended is what pax and GNU extension headers override.
type extended struct {
	name string
	size int64 // -1: not said
	set  bool
}

func damaged(format string, args ...any) error {
	return fault.Errorf(fault.Input, "damaged or unsafe archive: "+format, args...)
}

func (w *walker) next(fn func(Member, io.Reader) error) (more bool, err error) {
	var block [blockBytes]byte
	if err := w.read(block[:]); err != nil {
		return false, err
	}
	if block == [blockBytes]byte{} {
		return false, w.end()
	}
	header, err := parse(&block)
	if err != nil {
		return false, damaged("offset %d: %w", w.offset-blockBytes, err)
	}
	if w.members++; w.members > maxMembers {
		return false, damaged("more than %d members", maxMembers)
	}
	switch block[156] {
	case typePax, typeGlobal, typeGNUName:
		return true, w.extension(block[156], header.SizeBytes)
	case typeFile, typeOldFile, typeDir:
	default:
		return false, damaged("member %q is not a regular file (type %q)", header.Name, block[156])
	}
	if w.long.set {
		header.Canonical = false
		if w.long.name != "" {
			header.Name = w.long.name
		}
		if w.long.size >= 0 {
			header.SizeBytes = w.long.size
		}
		w.long = extended{}
	}
	directory := block[156] == typeDir || strings.HasSuffix(header.Name, "/")
	if header.Name, err = cleanName(header.Name); err != nil {
		return false, damaged("%w", err)
	}
	if directory && header.SizeBytes != 0 {
		return false, damaged("directory %q has content", header.Name)
	}
	if w.seen[header.Name] && !directory {
		return false, damaged("member %q comes twice", header.Name)
	}
	w.seen[header.Name] = true
	if directory {
		return true, nil
	}
	header.OffsetBytes = w.offset
	content := &io.LimitedReader{R: w, N: header.SizeBytes}
	if err := fn(header, content); err != nil {
		return false, err
	}
	if err := copyExactly(w.ctx, io.Discard, content, content.N, w.buf); err != nil {
		return false, truncated(err)
	}
	return true, w.skipPadding(header.SizeBytes)
}

// Read counts. It turns a premature end into an error, also for fn's eyes.
func (w *walker) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.r.Read(p)
	w.offset += int64(n)
	if errors.Is(err, io.EOF) {
		if err = nil; n == 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, truncated(err)
}

func (w *walker) read(p []byte) error {
	_, err := io.ReadFull(w, p)
	return truncated(err)
}

func truncated(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) && fault.KindOf(err) != fault.Input {
		return damaged("it ends early: %w", err)
	}
	return err
}

func (w *walker) skipPadding(sizeBytes int64) error {
	pad := w.buf[:padding(sizeBytes)]
	if err := w.read(pad); err != nil {
		return err
	}
	return w.zeros(pad)
}

func (w *walker) zeros(p []byte) error {
	if i := bytes.IndexFunc(p, func(r rune) bool { return r != 0 }); i >= 0 {
		return damaged("a byte at offset %d should be zero", w.offset-int64(len(p)-i))
	}
	return nil
}

// end checks the second block of zeros, and that nothing but zeros follows.
func (w *walker) end() error {
	if w.long.set {
		return damaged("an extension header without its member at the end")
	}
	second := w.buf[:blockBytes]
	if err := w.read(second); err != nil {
		return err
	}
	if err := w.zeros(second); err != nil {
		return err
	}
	for tail := 0; ; {
		n, err := w.r.Read(w.buf)
		w.offset += int64(n)
		if err := w.zeros(w.buf[:n]); err != nil {
			return err
		}
		if tail += n; tail > maxTailBytes {
			return damaged("more than %d zeros after its end", maxTailBytes)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return truncated(err)
		case w.ctx.Err() != nil:
			return w.ctx.Err()
		}
	}
}

// extension reads the content of an extension header.
func (w *walker) extension(kind byte, sizeBytes int64) error {
	if sizeBytes > maxRecordBytes {
		return damaged("an extension header of %d bytes", sizeBytes)
	}
	content := make([]byte, sizeBytes)
	if err := w.read(content); err != nil {
		return err
	}
	if err := w.skipPadding(sizeBytes); err != nil {
		return err
	}
	if !w.long.set {
		w.long = extended{size: -1, set: kind != typeGlobal}
	}
	switch kind {
	case typeGNUName:
		w.long.name = string(bytes.TrimRight(content, "\x00"))
	case typePax:
		return w.long.pax(string(content))
	}
	return nil
}

// pax reads records "length key=value\n": IEEE Std 1003.1, pax, "pax Extended
// Header". Those that say nothing of a name or size do not matter here.
func (e *extended) pax(records string) error {
	for records != "" {
		digits, _, ok := strings.Cut(records, " ")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n <= len(digits)+1 || n > len(records) || records[n-1] != '\n' {
			return damaged("a pax record without its length")
		}
		key, value, ok := strings.Cut(records[len(digits)+1:n-1], "=")
		records = records[n:]
		switch {
		case !ok:
			return damaged("a pax record without a value")
		case key == "path":
			e.name = value
		case key == "size":
			if e.size, err = strconv.ParseInt(value, 10, 64); err != nil || e.size < 0 {
				return damaged("pax size %q", value)
			}
		case strings.HasPrefix(key, "GNU.sparse."), key == "linkpath", key == "hdrcharset":
			return damaged("pax record %q is not supported", key)
		}
	}
	return nil
}

// parse reads and checks one header block.
func parse(block *[blockBytes]byte) (Member, error) {
	var m Member
	// GNU tar, bsdtar and Go end the sum with NUL and space, others with one of
	// them or in the other order. Other spellings are not in use.
	sum := string(block[148:156])
	if want := checksum(block); sum != fmt.Sprintf("%06o\x00 ", want) &&
		sum != fmt.Sprintf("%07o\x00", want) && sum != fmt.Sprintf("%06o \x00", want) {
		return m, errors.New("wrong header checksum, or no tar archive")
	}
	var err error
	if m.SizeBytes, err = number(block[124:136]); err != nil {
		return m, fmt.Errorf("size: %w", err)
	}
	seconds, err := number(block[136:148])
	if err != nil {
		return m, fmt.Errorf("time: %w", err)
	}
	m.ModTime = time.Unix(seconds, 0).UTC()
	m.Name = text(block[0:100])
	// Only POSIX archives have a prefix; GNU keeps other things there.
	if prefix := text(block[345:500]); prefix != "" && string(block[257:263]) == "ustar\x00" {
		m.Name = prefix + "/" + m.Name
	}
	if len(m.Name) <= maxNameBytes {
		m.Canonical = *block == render(m.Name, m.SizeBytes, m.ModTime)
	}
	return m, nil
}

// text reads a field that ends with its first NUL, if any.
func text(field []byte) string {
	before, _, _ := bytes.Cut(field, []byte{0})
	return string(before)
}

// number reads a field of octal digits, or of GNU's base 256.
func number(field []byte) (int64, error) {
	if field[0] == 0x80 {
		var n int64
		for _, b := range field[1:] {
			if n > 1<<54 {
				return 0, errors.New("number out of range")
			}
			n = n<<8 | int64(b)
		}
		return n, nil
	}
	digits := strings.Trim(string(field), " \x00")
	if digits == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(digits, 8, 62)
	if err != nil {
		return 0, fmt.Errorf("%q is not an octal number", digits)
	}
	return int64(n), nil
}
