package vmdk

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math"
)

// output counts and hashes what is written. It never seeks.
type output struct {
	buffer  *bufio.Writer
	digest  hash.Hash
	written int64
}

func newOutput(w io.Writer) *output {
	digest := sha256.New()
	return &output{buffer: bufio.NewWriterSize(io.MultiWriter(w, digest), 256<<10), digest: digest}
}

func (o *output) write(pieces ...[]byte) error {
	for _, p := range pieces {
		n, err := o.buffer.Write(p)
		o.written += int64(n)
		if err != nil {
			return fmt.Errorf("write vmdk at byte %d: %w", o.written, err)
		}
	}
	return nil
}

// pad writes zeros up to the offset given.
func (o *output) pad(offset int64) error {
	zeros := make([]byte, sector)
	for o.written < offset {
		if err := o.write(zeros[:min(sector, offset-o.written)]); err != nil {
			return err
		}
	}
	return nil
}

// sector is the number of the sector that is written next, which the grain
// tables must be able to express.
func (o *output) sector() (uint32, error) {
	if o.written/sector > math.MaxUint32 {
		return 0, fmt.Errorf("the vmdk grows beyond 2 TiB, which its 32-bit sector numbers cannot address")
	}
	return uint32(o.written / sector), nil
}

func (o *output) flush() error {
	if err := o.buffer.Flush(); err != nil {
		return fmt.Errorf("write vmdk at byte %d: %w", o.written, err)
	}
	return nil
}

// sum is the digest of everything flushed, in hex.
func (o *output) sum() string { return hex.EncodeToString(o.digest.Sum(nil)) }

// reporter calls progress once every 4 MiB of the disk at most, and at its end.
func reporter(progress func(done, total int64), total int64) func(int64) {
	next := int64(0)
	return func(done int64) {
		if progress != nil && (done >= next || done == total) {
			next = done + 4<<20
			progress(done, total)
		}
	}
}
