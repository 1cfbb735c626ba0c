package cache

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// A blob file is a zstd stream, then this mark, then the SHA-256 of the stream.
const (
	mark        = "imagebuild blob1"
	trailerSize = int64(len(mark) + sha256.Size)
	bufferSize  = 256 << 10
)

var errDamaged = errors.New("its content does not match its digest")

// writeBlob compresses what fill writes into f and syncs it.
func writeBlob(ctx context.Context, f *os.File, fill func(io.Writer) error) error {
	hash := sha256.New()
	out := &sink{ctx: ctx, w: io.MultiWriter(f, hash)}
	buffered := bufio.NewWriterSize(out, bufferSize)
	z, err := zstd.NewWriter(buffered, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	err = fill(z)
	if err = errors.Join(err, z.Close()); err == nil {
		err = buffered.Flush()
	}
	switch {
	case out.err != nil:
		return unavailable(out.err)
	case err == nil:
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(append([]byte(mark), hash.Sum(nil)...)); err != nil {
		return unavailable(err)
	}
	if err := f.Sync(); err != nil {
		return unavailable(err)
	}
	return nil
}

// sink remembers that it was the file that failed, and ends with the context.
type sink struct {
	ctx context.Context //nolint:containedctx // lives as long as one Put
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.w.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

type blob struct {
	*zstd.Decoder
	f *os.File
}

// Close implements io.Closer.
func (b *blob) Close() error {
	b.Decoder.Close()
	return b.f.Close()
}

// openBlob verifies a blob file and opens its content.
func openBlob(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	length, err := verify(ctx, f)
	if err == nil {
		var z *zstd.Decoder
		z, err = zstd.NewReader(bufio.NewReaderSize(io.NewSectionReader(f, 0, length), bufferSize))
		if err == nil {
			return &blob{z, f}, nil
		}
	}
	return nil, errors.Join(err, f.Close())
}

// verify compares the whole stream with its digest and returns its length.
func verify(ctx context.Context, f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	length := info.Size() - trailerSize
	if length < 0 {
		return 0, fmt.Errorf("%w: it is only %d bytes long", errDamaged, info.Size())
	}
	trailer := make([]byte, trailerSize)
	if _, err := f.ReadAt(trailer, length); err != nil {
		return 0, err
	}
	sum, ok := bytes.CutPrefix(trailer, []byte(mark))
	if !ok {
		return 0, fmt.Errorf("%w: it is cut short", errDamaged)
	}
	hash := sha256.New()
	buf := make([]byte, bufferSize)
	for at := int64(0); at < length; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), length-at)], at)
		if err != nil {
			return 0, err
		}
		hash.Write(buf[:n])
		at += int64(n)
	}
	if !bytes.Equal(hash.Sum(nil), sum) {
		return 0, errDamaged
	}
	return length, nil
}
