package qcow2

import (
	"errors"
	"fmt"
	"io"

	"github.com/org/imagebuild-action/internal/image"
)

// Overlay is an image.Disk over a qcow2 file that holds only what differs from
// another disk, its backing file.
type Overlay struct {
	top     *Reader
	backing image.Disk
}

// OpenOverlay opens a qcow2 file of sizeBytes whose backing file is backing.
// The name of it that the file holds is not looked at: it may have been written
// by anybody. What lies beyond the end of backing is zero.
func OpenOverlay(r io.ReaderAt, sizeBytes int64, backing image.Disk) (*Overlay, error) {
	top, err := open(r, sizeBytes, true)
	if err != nil {
		return nil, err
	}
	return &Overlay{top, backing}, nil
}

// Size is the virtual size in bytes.
func (o *Overlay) Size() int64 { return o.top.Size() }

// ReadAt implements io.ReaderAt over the virtual disk.
func (o *Overlay) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read qcow2: negative offset %d", offset)
	}
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		if at >= o.Size() {
			return done, io.EOF
		}
		within := at % o.top.cluster
		part := p[done:][:min(int64(len(p)-done), o.top.cluster-within, o.Size()-at)]
		absent, err := o.top.absent(at / o.top.cluster)
		switch {
		case err == nil && absent:
			err = image.ReadBlock(o.backing, part, at)
		case err == nil:
			err = o.top.readCluster(part, at/o.top.cluster, within)
		}
		if err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// NextExtent implements image.Disk. An extent of the backing file counts even
// where the overlay has zeros in its place.
func (o *Overlay) NextExtent(offset int64) (start, end int64, err error) {
	start, end, err = o.top.NextExtent(offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	if offset >= o.backing.Size() {
		return start, end, err
	}
	below, belowEnd, belowErr := o.backing.NextExtent(offset)
	switch {
	case errors.Is(belowErr, io.EOF):
		return start, end, err
	case belowErr != nil:
		return 0, 0, fmt.Errorf("backing file: %w", belowErr)
	}
	belowEnd = min(belowEnd, o.Size())
	switch {
	case below >= belowEnd || err == nil && start <= below:
		return start, end, err
	case err == nil:
		return below, min(belowEnd, start), nil
	}
	return below, belowEnd, nil
}

// absent reports whether a cluster is the backing file's.
func (d *Reader) absent(index int64) (bool, error) {
	entries := d.cluster / 8
	table, err := d.table(index / entries)
	if err != nil || table == nil {
		return err == nil, err
	}
	entry := table[index%entries]
	zero := d.header.version == 3 && entry&allZero != 0
	return entry&compressed == 0 && !zero && entry&offsetMask == 0, nil
}
