package vmdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/ordered"
)

// SparseOptions says how to write a monolithicSparse disk.
type SparseOptions struct {
	CID       uint32 // content id in the descriptor
	FileName  string // name of the file in the descriptor; "disk.vmdk" by default
	Workers   int    // zero means GOMAXPROCS; does not change the bytes
	Adapter   string // AdapterLSILogic by default
	HWVersion string // DefaultHWVersion by default
	// Progress, if set, is called now and then with bytes of the virtual disk.
	Progress func(done, total int64)
}

// Sparse is a monolithicSparse disk that is ready to be written: it knows
// which grains hold data, and therefore its size and all of its tables.
type Sparse struct {
	disk       image.Disk
	opts       SparseOptions
	descriptor []byte
	populated  []uint64 // a bit for each grain
	grains     int64
	header     header
}

// WriteSparse writes disk as a monolithicSparse VMDK in one forward pass.
// The disk is read twice.
func WriteSparse(ctx context.Context, w io.Writer, disk image.Disk, opts SparseOptions) (Info, error) {
	s, err := PlanSparse(ctx, disk, opts)
	if err != nil {
		return Info{}, err
	}
	return s.Write(ctx, w)
}

// PlanSparse reads the disk and finds the grains that hold data. It is for
// those who must know the file's size before its first byte, as a tar does.
// It keeps one bit for each 64 KiB of the virtual disk.
func PlanSparse(ctx context.Context, disk image.Disk, opts SparseOptions) (*Sparse, error) {
	size := disk.Size()
	if err := checkSize(size); err != nil {
		return nil, err
	}
	text, err := descriptor("monolithicSparse", size, opts.CID, opts.FileName, opts.Adapter, opts.HWVersion)
	if err != nil {
		return nil, err
	}
	tables := uint64(roundUp(size, coverageBytes) / coverageBytes)
	directory := roundUp(tables*4, sector) / sector
	s := &Sparse{
		disk: disk, opts: opts, descriptor: text,
		populated: make([]uint64, roundUp(size, 64*grainBytes)/(64*grainBytes)),
		header: header{
			version: 1, flags: flagNewlines | flagRedundant, newlines: newlines,
			capacity: uint64(size / sector), grainSize: grainSectors, tableEntries: tableEntries,
			descriptorAt: descriptorAt, descriptorSize: descriptorSize,
			rgdOffset: descriptorAt + descriptorSize, compression: compressNone,
		},
	}
	s.header.gdOffset = s.header.rgdOffset + directory + tables*tableSectors
	s.header.overhead = roundUp(s.header.gdOffset+directory+tables*tableSectors, grainSectors)
	err = s.walk(ctx, true, func(g *sparseGrain) error {
		if g.zero {
			return nil
		}
		index := g.offset / grainBytes
		s.populated[index/64] |= 1 << (index % 64)
		s.grains++
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.SizeBytes()/sector > math.MaxUint32 {
		return nil, errors.New("the vmdk would grow beyond 2 TiB, which its 32-bit sector numbers cannot address")
	}
	return s, nil
}

// SizeBytes is the size of the file that Write makes.
func (s *Sparse) SizeBytes() int64 {
	return int64(s.header.overhead)*sector + s.grains*grainBytes
}

// Write writes the file. It fails if the disk has changed in between.
func (s *Sparse) Write(ctx context.Context, w io.Writer) (Info, error) {
	out := newOutput(w)
	if err := out.write(s.header.encode(), s.descriptor); err != nil {
		return Info{}, err
	}
	for _, at := range []uint64{s.header.rgdOffset, s.header.gdOffset} {
		if err := s.tables(ctx, out, at); err != nil {
			return Info{}, err
		}
	}
	if err := out.pad(int64(s.header.overhead) * sector); err != nil {
		return Info{}, err
	}
	size, left := s.disk.Size(), s.grains
	progress := reporter(s.opts.Progress, size)
	err := s.walk(ctx, false, func(g *sparseGrain) error {
		progress(g.offset)
		if g.zero {
			return fmt.Errorf("the disk changed at byte %d while it was written", g.offset)
		}
		left--
		return out.write(g.data)
	})
	if err == nil && left != 0 {
		err = errors.New("the disk changed while it was written")
	}
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		return Info{}, err
	}
	progress(size)
	return Info{SizeBytes: out.written, CapacityBytes: size, PopulatedBytes: s.grains * grainBytes, SHA256: out.sum()}, nil
}

// tables writes a grain directory at the sector given, and all its grain
// tables right after it: VMware expects them allocated, even the empty ones.
func (s *Sparse) tables(ctx context.Context, out *output, at uint64) error {
	directory := make([]uint32, roundUp(s.header.capacity, tableEntries*grainSectors)/(tableEntries*grainSectors))
	table := at + roundUp(uint64(len(directory))*4, sector)/sector
	for i := range directory {
		directory[i] = uint32(table)
		table += tableSectors
	}
	if err := out.write(encodeTable(directory)); err != nil {
		return err
	}
	next := uint32(s.header.overhead)
	entries := make([]uint32, tableEntries)
	for i := range directory {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		clear(entries)
		words := s.populated[min(i*tableEntries/64, len(s.populated)):]
		for w, word := range words[:min(tableEntries/64, len(words))] {
			for ; word != 0; word &= word - 1 {
				entries[w*64+bits.TrailingZeros64(word)] = next
				next += grainSectors
			}
		}
		if err := out.write(encodeTable(entries)); err != nil {
			return err
		}
	}
	return nil
}

type sparseGrain struct {
	offset int64
	data   []byte
	zero   bool
}

// walk reads the grains that may hold data, in order. The grains that the
// first pass found empty are not read again by the second.
func (s *Sparse) walk(ctx context.Context, first bool, fn func(*sparseGrain) error) error {
	blocks := image.NewBlocks(s.disk, grainBytes)
	return ordered.Run(ctx, ordered.Job[*sparseGrain]{
		Workers: s.opts.Workers,
		NewItem: func() *sparseGrain { return &sparseGrain{data: make([]byte, grainBytes)} },
		Produce: func(g *sparseGrain) (err error) {
			for {
				g.offset, err = blocks.Next()
				if index := g.offset / grainBytes; err != nil || first || s.populated[index/64]>>(index%64)&1 == 1 {
					return err
				}
			}
		},
		Worker: func() func(*sparseGrain) error {
			return func(g *sparseGrain) error {
				if err := image.ReadBlock(s.disk, g.data, g.offset); err != nil {
					return err
				}
				g.zero = image.IsZero(g.data)
				return nil
			}
		},
		Consume: fn,
	})
}
