package qcow2

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/ordered"
)

// Size is the virtual size in bytes.
func (d *Reader) Size() int64 { return int64(d.header.size) }

// ReadAt implements io.ReaderAt over the virtual disk.
func (d *Reader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read qcow2: negative offset %d", offset)
	}
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		if at >= d.Size() {
			return done, io.EOF
		}
		within := at % d.cluster
		part := p[done:][:min(int64(len(p)-done), d.cluster-within, d.Size()-at)]
		if err := d.readCluster(part, at/d.cluster, within); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// holdsData reports whether an L2 entry stands for stored bytes.
func (d *Reader) holdsData(entry uint64) bool {
	switch {
	case entry&compressed != 0:
		return true
	case d.header.version == 3 && entry&allZero != 0:
		return false
	}
	return entry&offsetMask != 0
}

// NextExtent implements image.Disk, to the cluster.
func (d *Reader) NextExtent(offset int64) (start, end int64, err error) {
	entries := d.cluster / 8
	clusters := (d.Size()-1)/d.cluster + 1
	for index := max(offset, 0) / d.cluster; index < clusters; index++ {
		table, err := d.table(index / entries)
		if err != nil {
			return 0, 0, err
		}
		if table == nil {
			index |= entries - 1
			continue
		}
		if !d.holdsData(table[index%entries]) {
			continue
		}
		// Up to the table's end at most: the next call goes on from there.
		last := index + 1
		for last < clusters && last%entries != 0 && d.holdsData(table[last%entries]) {
			last++
		}
		end = d.Size()
		if last < clusters {
			end = last * d.cluster
		}
		if start = max(index*d.cluster, offset); start < end {
			return start, end, nil
		}
	}
	return 0, 0, io.EOF
}

// readCluster fills p from one cluster, from within it.
func (d *Reader) readCluster(p []byte, index, within int64) error {
	entries := d.cluster / 8
	table, err := d.table(index / entries)
	if err != nil {
		return err
	}
	if table == nil || !d.holdsData(table[index%entries]) {
		clear(p)
		return nil
	}
	entry := table[index%entries]
	if entry&compressed == 0 {
		return d.read(p, int64(entry&offsetMask)+within)
	}
	if cached, ok := d.plain.Get(index); ok {
		copy(p, cached[within:])
		return nil
	}
	s := d.scratch.Get().(*scratch)
	defer d.scratch.Put(s)
	if err := d.unpack(s, entry); err != nil {
		return err
	}
	copy(p, s.cluster[within:])
	if int64(len(p)) < d.cluster {
		// Small reads come in rows; whole clusters are not read twice.
		d.plain.Put(index, bytes.Clone(s.cluster))
	}
	return nil
}

// unpack reads and unpacks a compressed cluster. The entry's length is bounded
// by its width, to two clusters.
func (d *Reader) unpack(s *scratch, entry uint64) error {
	offset, n := splitEntry(entry, d.header.clusterBits)
	n = min(n, d.size-offset)
	if int64(cap(s.packed)) < n {
		s.packed = make([]byte, n, max(n, d.cluster))
	}
	s.packed = s.packed[:n]
	if err := d.read(s.packed, offset); err != nil {
		return err
	}
	if err := s.unpack(d.header.compression, s.packed, s.cluster); err != nil {
		return damaged(offset, "compressed cluster: %w", err)
	}
	return nil
}

// Verify reads every cluster once and fails on what cannot be read. Plain
// clusters have no checksum, so damage within their data goes unnoticed.
func (d *Reader) Verify(ctx context.Context) error {
	blocks := image.NewBlocks(d, d.cluster)
	type item struct {
		offset int64
		data   []byte
	}
	return ordered.Run(ctx, ordered.Job[*item]{
		NewItem: func() *item { return &item{data: make([]byte, d.cluster)} },
		Produce: func(i *item) (err error) {
			i.offset, err = blocks.Next()
			return err
		},
		Worker: func() func(*item) error {
			return func(i *item) error { return image.ReadBlock(d, i.data, i.offset) }
		},
		Consume: func(*item) error { return nil },
	})
}
