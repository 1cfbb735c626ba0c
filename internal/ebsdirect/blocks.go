package ebsdirect

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/image"
)

// Sum is what a snapshot consists of.
type Sum struct {
	Blocks   int64  // that are not zero
	Checksum string // base64 of the SHA-256 over all blocks' SHA-256, in order
}

// String is the sum in a log.
func (s Sum) String() string { return fmt.Sprintf("%d blocks, %s", s.Blocks, s.Checksum) }

// Checksum reads a disk and sends nothing: what Upload would come to.
func Checksum(ctx context.Context, disk image.Disk) (Sum, error) {
	return eachBlock(ctx, disk, runtime.GOMAXPROCS(0), func(context.Context, block, []byte) error { return nil })
}

// block is one to be sent.
type block struct {
	index    int32
	checksum string // base64 of its SHA-256
}

// eachBlock reads a disk's blocks, passes on those that are not zero, as many
// at once as parallel says, and sums them up in the disk's order.
func eachBlock(ctx context.Context, disk image.Disk, parallel int, fn func(context.Context, block, []byte) error) (Sum, error) {
	group, ctx := errgroup.WithContext(ctx)
	buffers := make(chan []byte, parallel)
	for range parallel {
		buffers <- nil // made when it is first needed
	}
	linear := summer{hash: sha256.New(), early: map[int64]*[sha256.Size]byte{}}
	work := func(number, offset int64, buffer []byte) error {
		if err := image.ReadBlock(disk, buffer, offset); err != nil {
			return err
		}
		if image.IsZero(buffer) {
			linear.add(number, nil)
			return nil
		}
		digest := sha256.Sum256(buffer)
		linear.add(number, &digest)
		return fn(ctx, block{int32(offset / BlockBytes), base64.StdEncoding.EncodeToString(digest[:])}, buffer) //nolint:gosec // see Complete
	}
	blocks := image.NewBlocks(disk, BlockBytes)
	var walk error
	for number := int64(0); walk == nil; number++ {
		var buffer []byte
		select {
		case buffer = <-buffers:
		case <-ctx.Done():
			walk = context.Cause(ctx)
			continue
		}
		var offset int64
		if offset, walk = blocks.Next(); walk != nil {
			continue
		}
		if buffer == nil {
			buffer = make([]byte, BlockBytes)
		}
		group.Go(func() error {
			err := work(number, offset, buffer)
			buffers <- buffer
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Sum{}, err // the first one, of which a cancelled walk is a consequence
	}
	if !errors.Is(walk, io.EOF) {
		return Sum{}, walk
	}
	return linear.sum(), nil
}

// summer puts digests that come in any order into the disk's.
type summer struct {
	mu    sync.Mutex
	hash  hash.Hash
	next  int64                        // number of the block whose turn it is
	early map[int64]*[sha256.Size]byte // of blocks whose turn it is not, at most one for each reader
	count int64
}

// add takes a block's digest; nil for one of zeros.
func (s *summer) add(number int64, digest *[sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.early[number] = digest
	for digest, ok := s.early[s.next]; ok; digest, ok = s.early[s.next] {
		delete(s.early, s.next)
		s.next++
		if digest != nil {
			s.hash.Write(digest[:]) // never fails
			s.count++
		}
	}
}

func (s *summer) sum() Sum {
	return Sum{Blocks: s.count, Checksum: base64.StdEncoding.EncodeToString(s.hash.Sum(nil))}
}
