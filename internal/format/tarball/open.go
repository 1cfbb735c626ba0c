package tarball

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindowBytes bounds the memory that a compressed archive can make us take.
const maxWindowBytes = 128 << 20

// bufferBytes is what is read from the file at a time.
const bufferBytes = 128 << 10

// Source is an archive on disk, in whatever compression.
type Source struct {
	// Compression is "", "gzip", "xz" or "zstd".
	Compression string
	file        *os.File
	sizeBytes   int64
	sealed      bool
}

// Open opens the archive at path and finds out how it is compressed.
func Open(path string) (*Source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Source{file: file}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s.sizeBytes = info.Size()
	magic := make([]byte, 6)
	n, err := file.ReadAt(magic, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, file.Close())
	}
	for _, form := range []struct{ name, magic string }{
		{"gzip", "\x1f\x8b"}, {"xz", "\xfd7zXZ\x00"}, {"zstd", "\x28\xb5\x2f\xfd"},
	} {
		if bytes.HasPrefix(magic[:n], []byte(form.magic)) {
			s.Compression = form.name
		}
	}
	return s, nil
}

// Close closes the file.
func (s *Source) Close() error { return s.file.Close() }

// ReaderAt gives access to the file's bytes, which are those of the archive if
// it is not compressed.
func (s *Source) ReaderAt() io.ReaderAt { return s.file }

// SizeBytes is the size of the file.
func (s *Source) SizeBytes() int64 { return s.sizeBytes }

// Sealed says, after Walk, that compression hides no byte from the checks: the
// file is not compressed, or it is ours and its seal is right.
func (s *Source) Sealed() bool { return s.sealed }

// Walk is Walk on the archive's content.
func (s *Source) Walk(ctx context.Context, fn func(member Member, content io.Reader) error) error {
	body := io.NewSectionReader(s.file, 0, s.sizeBytes)
	switch s.Compression {
	case "gzip":
		return s.walkGzip(ctx, fn)
	case "xz":
		r, err := xz.ReaderConfig{DictCap: maxWindowBytes, SingleStream: true}.NewReader(bufio.NewReader(body))
		if err != nil {
			return damaged("xz: %w", err)
		}
		return Walk(ctx, inflating{r}, fn)
	case "zstd":
		r, err := zstd.NewReader(body, zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return damaged("zstd: %w", err)
		}
		defer r.Close()
		return Walk(ctx, inflating{r}, fn)
	}
	s.sealed = true
	return Walk(ctx, bufio.NewReaderSize(body, bufferBytes), fn)
}

func (s *Source) walkGzip(ctx context.Context, fn func(Member, io.Reader) error) error {
	digest, seal, bodyBytes, err := s.findSeal()
	if err != nil {
		return err
	}
	var body io.Reader = io.NewSectionReader(s.file, 0, bodyBytes)
	if seal != nil {
		body = io.TeeReader(body, digest)
	}
	buffered := bufio.NewReaderSize(body, bufferBytes)
	z, err := gzip.NewReader(buffered)
	if err != nil {
		return damaged("gzip: %w", err)
	}
	z.Multistream(seal == nil)
	if err := Walk(ctx, inflating{z}, fn); err != nil {
		return err
	}
	if _, err := buffered.ReadByte(); !errors.Is(err, io.EOF) {
		return damaged("data after the end of the gzip stream")
	}
	if seal == nil {
		return nil
	}
	if !bytes.Equal(seal, gzipSeal(digest.Sum(nil))) {
		return damaged("the compressed data is not what was written")
	}
	s.sealed = true
	return nil
}

// findSeal returns the seal at the file's end, if it has the form of one, and
// how many bytes come before it.
func (s *Source) findSeal() (digest hash.Hash, seal []byte, bodyBytes int64, err error) {
	bodyBytes = s.sizeBytes - gzipSealBytes
	if bodyBytes <= 0 {
		return nil, nil, s.sizeBytes, nil
	}
	seal = make([]byte, gzipSealBytes)
	if _, err := s.file.ReadAt(seal, bodyBytes); err != nil {
		return nil, nil, 0, err
	}
	if !bytes.Equal(seal, gzipSeal(seal[16:16+sha256.Size])) {
		return nil, nil, s.sizeBytes, nil
	}
	return sha256.New(), seal, bodyBytes, nil
}

// inflating marks a decompressor's complaints as the input's fault.
type inflating struct{ r io.Reader }

func (i inflating) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged("decompress: %w", err)
	}
	return n, err
}
