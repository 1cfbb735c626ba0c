package qcow2

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/ordered"
)

// File is what Write writes to: an *os.File, empty. It is read back for its
// digest, as the header can be written only when everything else is.
type File interface {
	io.WriterAt
	io.ReaderAt
}

// Options says how to write. The zero value is good.
type Options struct {
	Compression Compression // Zstd by default
	Workers     int         // zero means GOMAXPROCS; does not change the bytes
	ClusterBits uint32      // log2 of the cluster size, 12 to 21; zero means 16
	// Progress, if set, is called now and then with bytes of the virtual disk.
	Progress func(done, total int64)
}

// Info describes an image that was written.
type Info struct {
	SizeBytes      int64  // of the file
	CapacityBytes  int64  // of the virtual disk
	PopulatedBytes int64  // of the clusters that the file holds, unpacked
	SHA256         string // of the file, lower-case hex
}

// maxL1 is QEMU's limit for an L1 table: 32 MiB.
const maxL1 = 32 << 20 / 8

type cluster struct {
	offset int64  // in the disk, bytes
	data   []byte // as it is in the disk
	packed []byte // nil when it is stored as it is
	room   []byte // what packed lives in
	zero   bool
}

// Write writes disk to file. The same disk and options give the same bytes.
// Clusters of zeros are left out, whatever the disk's extents say.
func Write(ctx context.Context, file File, disk image.Disk, opts Options) (Info, error) {
	if opts.Compression == "" {
		opts.Compression = Zstd
	}
	if opts.ClusterBits == 0 {
		opts.ClusterBits = 16
	}
	if opts.ClusterBits < 12 || opts.ClusterBits > 21 {
		return Info{}, fmt.Errorf("clusters of 2^%d bytes are not between 4 KiB and 2 MiB", opts.ClusterBits)
	}
	size := disk.Size()
	if size <= 0 || size%sector != 0 {
		return Info{}, fmt.Errorf("a disk of %d bytes is not a whole number of sectors", size)
	}
	if coverage := int64(1) << (2*opts.ClusterBits - 3); (size-1)/coverage >= maxL1 {
		return Info{}, fmt.Errorf("a disk of %d bytes is too large for clusters of %d", size, 1<<opts.ClusterBits)
	}
	w := newWriter(file, size, opts.ClusterBits)
	if _, err := newCompressor(opts.Compression, int(w.cluster)); err != nil {
		return Info{}, err
	}
	progress, next := opts.Progress, int64(0)
	if progress == nil {
		progress = func(int64, int64) {}
	}
	blocks := image.NewBlocks(disk, w.cluster)
	err := ordered.Run(ctx, ordered.Job[*cluster]{
		Workers: opts.Workers,
		NewItem: func() *cluster { return &cluster{data: make([]byte, w.cluster)} },
		Produce: func(c *cluster) (err error) {
			c.offset, err = blocks.Next()
			return err
		},
		Worker: func() func(*cluster) error { return packer(disk, opts.Compression, int(w.cluster)) },
		Consume: func(c *cluster) error {
			if c.offset >= next {
				progress(c.offset, size)
				next = c.offset + 4<<20
			}
			return w.put(c)
		},
	})
	if err != nil {
		return Info{}, err
	}
	fileBytes, err := w.finish(opts.Compression)
	if err != nil {
		return Info{}, err
	}
	digest, err := digest(ctx, file, fileBytes)
	if err != nil {
		return Info{}, err
	}
	progress(size, size)
	return Info{SizeBytes: fileBytes, CapacityBytes: size, PopulatedBytes: w.populated, SHA256: digest}, nil
}

func packer(disk image.Disk, kind Compression, clusterBytes int) func(*cluster) error {
	pack, err := newCompressor(kind, clusterBytes)
	return func(c *cluster) error {
		if err != nil {
			return err
		}
		if err := image.ReadBlock(disk, c.data, c.offset); err != nil {
			return err
		}
		if c.zero = image.IsZero(c.data); c.zero {
			return nil
		}
		packed, err := pack(c.data)
		if err != nil {
			return fmt.Errorf("compress cluster at byte %d: %w", c.offset, err)
		}
		if c.packed = nil; packed != nil {
			c.room = append(c.room[:0], packed...)
			c.packed = c.room
		}
		return nil
	}
}

// writer places clusters in the file. Compressed ones are packed back to back
// and fill up their host cluster; the others begin a new one.
type writer struct {
	file      File
	bits      uint32
	cluster   int64
	size      int64
	populated int64

	refcounts []uint16 // of the host clusters: two bytes for each 64 KiB of the file
	cursor    int64    // where the next compressed byte goes
	limit     int64    // end of the host cluster that cursor is in

	l1      []uint64
	l2      []uint64
	current int64 // index of l2 in l1
	used    bool  // l2 has entries

	buffer []byte // bytes not written yet
	start  int64  // where they belong
}

func newWriter(file File, size int64, bits uint32) *writer {
	w := &writer{file: file, bits: bits, cluster: 1 << bits, size: size, buffer: make([]byte, 0, 1<<20)}
	coverage := w.cluster / 8 * w.cluster
	w.l1 = make([]uint64, roundUp(size, coverage)/coverage)
	w.l2 = make([]uint64, w.cluster/8)
	w.allocate() // the header's
	return w
}

// allocate takes a new host cluster and returns its offset.
func (w *writer) allocate() int64 {
	w.refcounts = append(w.refcounts, 1)
	return int64(len(w.refcounts)-1) * w.cluster
}

// allocateBytes takes n bytes for a compressed cluster, across the border of
// two host clusters if they are neighbours. Each one counts its guests.
func (w *writer) allocateBytes(n int64) int64 {
	end := int64(len(w.refcounts)) * w.cluster
	full := w.limit > 0 && w.refcounts[w.limit/w.cluster-1] == math.MaxUint16
	if w.limit == 0 || full || w.cursor+n > w.limit && w.limit != end {
		w.cursor = end
		w.limit = end
	}
	at := w.cursor
	if at < w.limit {
		w.refcounts[w.limit/w.cluster-1]++
	}
	w.cursor += n
	for w.cursor > w.limit {
		w.allocate()
		w.limit += w.cluster
	}
	return at
}

func (w *writer) put(c *cluster) error {
	if c.zero {
		return nil
	}
	if index := c.offset / w.cluster / int64(len(w.l2)); index != w.current {
		if err := w.flushL2(); err != nil {
			return err
		}
		w.current = index
	}
	w.populated += w.cluster
	w.used = true
	entry := &w.l2[c.offset/w.cluster%int64(len(w.l2))]
	if c.packed == nil {
		at := w.allocate()
		*entry = uint64(at) | copied
		return w.write(c.data, at)
	}
	at := w.allocateBytes(int64(len(c.packed)))
	*entry = compressedEntry(at, int64(len(c.packed)), w.bits)
	return w.write(c.packed, at)
}

func (w *writer) flushL2() error {
	if !w.used {
		return nil
	}
	at := w.allocate()
	w.l1[w.current] = uint64(at) | copied
	if err := w.write(encodeTable(w.l2, w.cluster), at); err != nil {
		return err
	}
	clear(w.l2)
	w.used = false
	return nil
}

// finish writes the L1 table, the refcounts and the header, and returns the
// size of the file.
func (w *writer) finish(kind Compression) (int64, error) {
	if err := w.flushL2(); err != nil {
		return 0, err
	}
	h := header{version: 3, clusterBits: w.bits, size: uint64(w.size), refcountOrder: refcountBits, length: headerBytes, l1Entries: uint32(len(w.l1))}
	if kind == Zstd {
		h.incompatible, h.compression = incompatCompression, typeZstd
	}
	h.l1Offset = uint64(len(w.refcounts)) * uint64(w.cluster)
	l1 := encodeTable(w.l1, roundUp(int64(len(w.l1))*8, w.cluster))
	if err := w.append(l1); err != nil {
		return 0, err
	}
	// The refcount blocks and their table count themselves: grow until they do.
	perBlock := w.cluster / 2
	blocks, tables := int64(0), int64(0)
	for {
		total := int64(len(w.refcounts)) + blocks + tables
		b := roundUp(total, perBlock) / perBlock
		t := roundUp(b*8, w.cluster) / w.cluster
		if b == blocks && t == tables {
			break
		}
		blocks, tables = b, t
	}
	first := int64(len(w.refcounts)) * w.cluster
	h.rcOffset, h.rcClusters = uint64(first+blocks*w.cluster), uint32(tables)
	all := int64(len(w.refcounts)) + blocks + tables
	for int64(len(w.refcounts)) < all {
		w.allocate()
	}
	table := make([]uint64, blocks)
	for i := range table {
		table[i] = uint64(first + int64(i)*w.cluster)
		block := make([]byte, w.cluster)
		for j, count := range w.refcounts[int64(i)*perBlock : min(int64(i+1)*perBlock, all)] {
			binary.BigEndian.PutUint16(block[j*2:], count)
		}
		if err := w.write(block, int64(table[i])); err != nil {
			return 0, err
		}
	}
	if err := w.write(encodeTable(table, tables*w.cluster), int64(h.rcOffset)); err != nil {
		return 0, err
	}
	if err := w.write(h.encode(), 0); err != nil {
		return 0, err
	}
	return all * w.cluster, w.flush()
}

// append writes whole clusters at the end.
func (w *writer) append(p []byte) error {
	at := w.allocate()
	for range int64(len(p))/w.cluster - 1 {
		w.allocate()
	}
	return w.write(p, at)
}

// write gathers neighbours into one call.
func (w *writer) write(p []byte, at int64) error {
	if at != w.start+int64(len(w.buffer)) || len(w.buffer)+len(p) > cap(w.buffer) {
		if err := w.flush(); err != nil {
			return err
		}
		w.start = at
	}
	w.buffer = append(w.buffer, p...)
	return nil
}

func (w *writer) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	n, err := w.file.WriteAt(w.buffer, w.start)
	if err == nil && n != len(w.buffer) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write qcow2 at byte %d: %w", w.start+int64(n), err)
	}
	w.buffer = w.buffer[:0]
	return nil
}

// digest reads the file back. It was written a moment ago, so it is in memory.
func digest(ctx context.Context, file io.ReaderAt, size int64) (string, error) {
	sum, buffer := sha256.New(), make([]byte, 256<<10)
	for at := int64(0); at < size; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := file.ReadAt(buffer[:min(int64(len(buffer)), size-at)], at)
		if err != nil && (!errors.Is(err, io.EOF) || n == 0) {
			return "", fmt.Errorf("read qcow2 back at byte %d: %w", at, err)
		}
		sum.Write(buffer[:n])
		at += int64(n)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
