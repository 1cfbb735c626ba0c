package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
)

// Size is the virtual size in bytes.
func (d *Reader) Size() int64 { return int64(d.header.capacity) * sector }

// ReadAt implements io.ReaderAt over the virtual disk.
func (d *Reader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read vmdk: negative offset %d", offset)
	}
	done, grain := 0, d.grainBytes()
	for done < len(p) {
		at := offset + int64(done)
		if at >= d.Size() {
			return done, io.EOF
		}
		within := at % grain
		part := p[done:][:min(int64(len(p)-done), grain-within, d.Size()-at)]
		if err := d.readGrain(part, at/grain, within); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// NextExtent implements image.Disk, to the grain.
func (d *Reader) NextExtent(offset int64) (start, end int64, err error) {
	grain := d.grainBytes()
	for index := max(offset, 0) / grain; index*grain < d.Size(); index++ {
		table, err := d.table(index / tableEntries)
		if err != nil {
			return 0, 0, err
		}
		if table == nil {
			index |= tableEntries - 1
			continue
		}
		if table[index%tableEntries] == 0 {
			continue
		}
		// Up to the table's end at most: the next call goes on from there.
		last := index + 1
		for last%tableEntries != 0 && table[last%tableEntries] != 0 {
			last++
		}
		start, end = max(index*grain, offset), min(last*grain, d.Size())
		if start < end {
			return start, end, nil
		}
	}
	return 0, 0, io.EOF
}

// readGrain fills p from one grain, from within it.
func (d *Reader) readGrain(p []byte, index, within int64) error {
	table, err := d.table(index / tableEntries)
	if err != nil {
		return err
	}
	if table == nil || table[index%tableEntries] == 0 {
		clear(p)
		return nil
	}
	at := int64(table[index%tableEntries]) * sector
	if d.header.flags&flagCompressed == 0 {
		return d.read(p, at+within)
	}
	if cached, ok := d.grains.Get(index); ok {
		copy(p, cached[within:])
		return nil
	}
	z := d.scratch.Get().(*inflater)
	defer d.scratch.Put(z)
	if err := d.loadGrain(z, at); err != nil {
		return err
	}
	if err := d.inflate(z, uint64(index)); err != nil {
		return err
	}
	copy(p, z.plain[within:])
	if int64(len(p)) < d.grainBytes() {
		// Small reads come in rows; whole grains are not read twice.
		d.grains.Put(index, bytes.Clone(z.plain[:d.grainBytes()]))
	}
	return nil
}

// inflater is the room for one compressed grain.
type inflater struct {
	at     int64  // of the grain marker in the file
	lba    uint64 // sector of the disk that the marker names
	packed []byte
	plain  []byte // one byte more than a grain, to notice too much
	input  bytes.Reader
	zlib   io.ReadCloser
}

// maxPacked bounds the compressed size of a grain: what deflate adds to data
// that does not compress is well under an eighth.
func maxPacked(grain int64) int64 { return grain + grain/8 + sector }

func newInflater(grain int64) *inflater { return &inflater{plain: make([]byte, grain+1)} }

// loadGrain reads a grain marker and its data, with the padding, at byte at.
func (d *Reader) loadGrain(z *inflater, at int64) error {
	var head [grainMarkerBytes]byte
	if err := d.read(head[:], at); err != nil {
		return err
	}
	z.at, z.lba = at, binary.LittleEndian.Uint64(head[:])
	n := int64(binary.LittleEndian.Uint32(head[8:]))
	if n == 0 || n > maxPacked(d.grainBytes()) {
		return damaged(at+8, "%d bytes of compressed data for a grain of %d", n, d.grainBytes())
	}
	if int64(cap(z.packed)) < n {
		z.packed = make([]byte, maxPacked(d.grainBytes()))
	}
	z.packed = z.packed[:n]
	return d.read(z.packed, at+grainMarkerBytes)
}

// inflate unpacks the loaded grain into z.plain and checks everything about it.
func (d *Reader) inflate(z *inflater, index uint64) error {
	first := index * d.header.grainSize
	if z.lba != first {
		return damaged(z.at, "the grain says that it is sector %d of the disk, its table says %d", z.lba, first)
	}
	n, err := z.unpack()
	if err != nil {
		return damaged(z.at+grainMarkerBytes, "grain of sector %d: %w", first, err)
	}
	grain := d.grainBytes()
	// Some writers cut the last grain at the disk's end.
	if short := d.Size() - int64(first)*sector; n != grain && n != short {
		return damaged(z.at+grainMarkerBytes, "grain of sector %d has %d bytes instead of %d", first, n, grain)
	}
	clear(z.plain[n:])
	return nil
}

func (z *inflater) unpack() (int64, error) {
	z.input.Reset(z.packed)
	var err error
	if z.zlib == nil {
		z.zlib, err = zlib.NewReader(&z.input)
	} else {
		err = z.zlib.(zlib.Resetter).Reset(&z.input, nil)
	}
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(z.zlib, z.plain)
	switch {
	case err == nil:
		return 0, errors.New("more data than a grain holds")
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return 0, err
	}
	// ReadFull hides whether the stream itself ended early: ask once more.
	if _, err := z.zlib.Read(z.plain[n:]); !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("incomplete data: %w", err)
	}
	if z.input.Len() != 0 {
		return 0, fmt.Errorf("%d bytes after the end of the compressed data", z.input.Len())
	}
	return int64(n), nil
}
