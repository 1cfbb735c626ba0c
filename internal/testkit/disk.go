package testkit

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
)

// Disk is a sparse disk that keeps its extents in memory.
type Disk struct {
	size    int64
	extents []extent // sorted, apart
}

type extent struct {
	start int64
	data  []byte
}

// NewDisk returns a disk of zeros.
func NewDisk(sizeBytes int64) *Disk { return &Disk{size: sizeBytes} }

// Size implements image.Disk.
func (d *Disk) Size() int64 { return d.size }

// ReadAt implements image.Disk.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
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

// NextExtent implements image.Disk.
func (d *Disk) NextExtent(offset int64) (start, end int64, err error) {
	for _, e := range d.extents {
		if to := e.start + int64(len(e.data)); to > offset {
			return max(e.start, offset), to, nil
		}
	}
	return 0, 0, io.EOF
}

// Put adds an extent that must not overlap another, cut at the disk's end.
func (d *Disk) Put(start int64, data []byte) {
	if start >= d.size {
		return
	}
	d.extents = append(d.extents, extent{start, data[:min(int64(len(data)), d.size-start)]})
	sort.Slice(d.extents, func(i, j int) bool { return d.extents[i].start < d.extents[j].start })
}

// Noise is n bytes that do not compress.
func Noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(p)
	return p
}

// Prose is n bytes that compress about as well as a file system.
func Prose(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := make([][]byte, 300)
	for i := range words {
		words[i] = Noise(seed+uint64(i), 2+r.IntN(14))
	}
	p := make([]byte, 0, n+16)
	for len(p) < n {
		p = append(p, words[r.IntN(len(words))]...)
	}
	return p[:n]
}

// Fragments is a disk of size bytes with runs of data, prose, noise and zeros
// at seeded places, not aligned to anything.
func Fragments(seed uint64, size int64) *Disk {
	r := rand.New(rand.NewPCG(seed, 2))
	d := NewDisk(size)
	for position, i := int64(0), 0; position < size && i < 40; i++ {
		n := 1 + r.IntN(200<<10)
		switch r.IntN(4) {
		case 0: // a hole
			position += r.Int64N(max(size/8, 1))
			continue
		case 1:
			d.Put(position, Noise(seed+uint64(i), n))
		case 2:
			d.Put(position, Prose(seed+uint64(i), n))
		case 3: // data by its extent, zeros by its content
			d.Put(position, make([]byte, n))
		}
		position += int64(n)
	}
	return d
}

// Disks are the shapes that a format must carry, by name: around the sizes of
// blocks and tables, empty, full and far apart.
func Disks() map[string]*Disk {
	all := map[string]*Disk{
		"one sector of zeros":    NewDisk(512),
		"two gigabytes of zeros": NewDisk(2 << 30),
		"40 GiB, sparse":         NewDisk(40 << 30),
	}
	all["40 GiB, sparse"].Put(0, Prose(1, 100))
	all["40 GiB, sparse"].Put(17<<30+512, Prose(2, 300<<10))
	all["40 GiB, sparse"].Put(40<<30-512, Noise(3, 512))
	for _, size := range []int64{512, 1024, 65536 - 512, 65536, 65536 + 512, 1 << 20, 32<<20 - 512, 32 << 20, 32<<20 + 512, 97<<20 + 1536} {
		disk := NewDisk(size)
		disk.Put(0, Noise(uint64(size), int(min(size, 2<<20))))
		all[fmt.Sprintf("%d bytes, noise", size)] = disk
		disk = NewDisk(size)
		disk.Put(size-512, Prose(uint64(size), 512))
		all[fmt.Sprintf("%d bytes, last sector", size)] = disk
		all[fmt.Sprintf("%d bytes, fragments", size)] = Fragments(uint64(size), size)
	}
	return all
}
