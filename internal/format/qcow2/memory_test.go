package qcow2_test

import (
	"io"
	"math/rand/v2"
	"sort"
)

// memoryDisk is a sparse disk that keeps its extents in memory.
type memoryDisk struct {
	size    int64
	extents []extent // sorted, apart
}

type extent struct {
	start int64
	data  []byte
}

func (d *memoryDisk) Size() int64 { return d.size }

func (d *memoryDisk) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= d.size {
		return 0, io.EOF
	}
	var err error
	if left := d.size - offset; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	clear(p)
	for _, e := range d.extents {
		if from, to := max(offset, e.start), min(offset+int64(len(p)), e.start+int64(len(e.data))); from < to {
			copy(p[from-offset:to-offset], e.data[from-e.start:])
		}
	}
	return len(p), err
}

func (d *memoryDisk) NextExtent(offset int64) (start, end int64, err error) {
	for _, e := range d.extents {
		if to := e.start + int64(len(e.data)); to > offset {
			return max(e.start, offset), to, nil
		}
	}
	return 0, 0, io.EOF
}

// put adds an extent that must not overlap another, cut at the disk's end.
func (d *memoryDisk) put(start int64, data []byte) {
	if start >= d.size {
		return
	}
	d.extents = append(d.extents, extent{start, data[:min(int64(len(data)), d.size-start)]})
	sort.Slice(d.extents, func(i, j int) bool { return d.extents[i].start < d.extents[j].start })
}

// noise is n bytes that do not compress.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(p)
	return p
}

// prose is n bytes that compress about as well as a file system.
func prose(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := make([][]byte, 300)
	for i := range words {
		words[i] = noise(seed+uint64(i), 2+r.IntN(14))
	}
	p := make([]byte, 0, n+16)
	for len(p) < n {
		p = append(p, words[r.IntN(len(words))]...)
	}
	return p[:n]
}

// fragments is a disk of size bytes with runs of data, prose, noise and zeros
// at seeded places, not aligned to anything.
func fragments(seed uint64, size int64) *memoryDisk {
	r := rand.New(rand.NewPCG(seed, 2))
	d := &memoryDisk{size: size}
	for position, i := int64(0), 0; position < size && i < 40; i++ {
		n := 1 + r.IntN(200<<10)
		switch r.IntN(4) {
		case 0: // a hole
			position += r.Int64N(max(size/8, 1))
			continue
		case 1:
			d.put(position, noise(seed+uint64(i), n))
		case 2:
			d.put(position, prose(seed+uint64(i), n))
		case 3: // data by its extent, zeros by its content
			d.put(position, make([]byte, n))
		}
		position += int64(n)
	}
	return d
}
