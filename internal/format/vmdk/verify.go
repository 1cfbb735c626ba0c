package vmdk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/ordered"
)

// ErrPadded is a stream whose content is whole but which has zeros after its
// end, as qemu-img writes it. Workstation and ESXi refuse such a file; QEMU and
// VirtualBox read it.
var ErrPadded = fault.Wrap(fault.Input, errors.New("zeros after the end-of-stream marker"))

// Verify reads the whole file and fails on any damage: each grain is unpacked
// and its checksum compared, each marker is where the tables say, grains do
// not overlap, padding is zero, and nothing follows the end. ErrPadded means that
// only the last is not so.
func (d *Reader) Verify(ctx context.Context) error {
	if err := d.verifyHeader(); err != nil {
		return err
	}
	if d.header.flags&flagCompressed == 0 {
		return d.verifySparse(ctx)
	}
	walk, err := d.newWalk(ctx)
	if err != nil {
		return err
	}
	return ordered.Run(ctx, ordered.Job[*inflater]{
		NewItem: func() *inflater { return newInflater(d.grainBytes()) },
		Produce: walk.next,
		Worker: func() func(*inflater) error {
			return func(z *inflater) error { return d.inflate(z, z.lba/d.header.grainSize) }
		},
		Consume: func(*inflater) error { return nil },
	})
}

// verifyHeader checks what Open has no use for.
func (d *Reader) verifyHeader() error {
	if err := d.zeros(headerUsed, sector); err != nil {
		return err
	}
	if d.header.unclean != 0 {
		return damaged(72, "the disk was not shut down cleanly")
	}
	if d.footer {
		end := d.size - sector
		if err := d.zeros(end-sector+headerUsed, end); err != nil {
			return err
		}
		return d.zeros(int64(d.header.descriptorAt+d.header.descriptorSize)*sector, int64(d.header.overhead)*sector)
	}
	return nil
}

// zeros fails unless the bytes from start to end are zero.
func (d *Reader) zeros(start, end int64) error {
	buffer := make([]byte, 64<<10)
	for start < end {
		p := buffer[:min(end-start, int64(len(buffer)))]
		if err := d.read(p, start); err != nil {
			return err
		}
		for i, b := range p {
			if b != 0 {
				return damaged(start+int64(i), "padding is not zero")
			}
		}
		start += int64(len(p))
	}
	return nil
}

// walk goes through the markers of a stream, once.
type walk struct {
	*Reader
	at     int64    // byte of the next marker
	floor  int64    // least sector of the disk that the next grain may have
	left   int64    // grains in the tables that were not met yet
	tables []uint32 // grain tables of the directory that were not met yet
	gd     bool     // the directory was met
	foot   bool     // the footer was met
}

func (d *Reader) newWalk(ctx context.Context) (*walk, error) {
	w := &walk{Reader: d, at: int64(d.header.overhead) * sector}
	for i := range d.directory {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		table, err := d.table(int64(i))
		if err != nil {
			return nil, err
		}
		if table == nil {
			continue
		}
		if d.footer {
			w.tables = append(w.tables, d.directory[i])
		}
		for j, entry := range table {
			if entry == 0 {
				continue
			}
			w.left++
			if (uint64(i)*tableEntries+uint64(j))*d.header.grainSize >= d.header.capacity {
				return nil, damaged(int64(d.directory[i])*sector+int64(j)*4, "a grain beyond the end of the disk")
			}
		}
	}
	return w, nil
}

// next loads the next grain, or returns io.EOF at a proper end.
func (w *walk) next(z *inflater) error {
	for {
		head := make([]byte, sector)
		if err := w.read(head, w.at); err != nil {
			return err
		}
		le := binary.LittleEndian
		value, size, kind := le.Uint64(head), le.Uint32(head[8:]), le.Uint32(head[12:])
		if size != 0 {
			return w.grain(z)
		}
		if string(head) != string(marker(kind, value)) {
			return damaged(w.at+16, "padding of a marker is not zero")
		}
		if kind == markerEOS {
			return w.eos(value)
		}
		n, err := w.metadata(kind, value)
		if err != nil {
			return err
		}
		w.at += (1 + n) * sector
	}
}

// grain loads the grain at hand, which must be the one that its table means.
func (w *walk) grain(z *inflater) error {
	if w.gd || w.foot {
		return damaged(w.at, "a grain after the grain directory")
	}
	if err := w.loadGrain(z, w.at); err != nil {
		return err
	}
	if z.lba < uint64(w.floor) || z.lba%w.header.grainSize != 0 || z.lba >= w.header.capacity {
		return damaged(w.at, "a grain of sector %d of the disk, where one from %d to %d in steps of %d belongs",
			z.lba, w.floor, w.header.capacity, w.header.grainSize)
	}
	index := int64(z.lba / w.header.grainSize)
	table, err := w.table(index / tableEntries)
	if err != nil {
		return err
	}
	if table == nil || int64(table[index%tableEntries])*sector != w.at {
		return damaged(w.at, "the grain of sector %d is not where its table says", z.lba)
	}
	end := w.at + grainMarkerBytes + int64(len(z.packed))
	w.at = roundUp(end, sector)
	w.floor, w.left = int64(z.lba+w.header.grainSize), w.left-1
	return w.zeros(end, w.at)
}

// metadata checks a marker that is not a grain's, and returns how many sectors
// belong to it.
func (w *walk) metadata(kind uint32, sectors uint64) (int64, error) {
	behind := uint64(w.at/sector + 1)
	switch {
	case !w.footer:
		return 0, damaged(w.at, "a marker of type %d in a disk whose tables are in front", kind)
	case w.foot:
		return 0, damaged(w.at, "a marker of type %d after the footer", kind)
	case kind == markerTable && sectors == tableSectors && !w.gd:
		if len(w.tables) == 0 || uint64(w.tables[0]) != behind {
			return 0, damaged(w.at, "a grain table that the directory does not have next")
		}
		w.tables = w.tables[1:]
		return tableSectors, nil
	case kind == markerGD && sectors == uint64(roundUp(len(w.directory)*4, sector)/sector) && !w.gd:
		if w.header.gdOffset != behind {
			return 0, damaged(w.at, "the grain directory is not where the footer says")
		}
		w.gd = true
		end := w.at + int64(1+sectors)*sector
		return int64(sectors), w.zeros(w.at+sector+int64(len(w.directory))*4, end)
	case kind == markerFooter && sectors == 1 && w.gd:
		w.foot = true
		return 1, nil
	}
	return 0, damaged(w.at, "an unexpected marker of type %d for %d sectors", kind, sectors)
}

func (w *walk) eos(value uint64) error {
	end := w.at + sector
	switch {
	case value != 0:
		return damaged(w.at, "the end-of-stream marker has a value of %d", value)
	case w.footer && !w.foot:
		return damaged(w.at, "the stream ends without a footer")
	case len(w.tables) != 0:
		return damaged(w.at, "the directory has %d grain tables that the stream does not", len(w.tables))
	case w.left != 0:
		return damaged(w.at, "the tables have %d grains that the stream does not", w.left)
	case end != w.size && w.zeros(end, w.size) == nil:
		return fmt.Errorf("%d zeros from byte %d: %w", w.size-end, end, ErrPadded)
	case end != w.size:
		return damaged(end, "%d bytes after the end-of-stream marker", w.size-end)
	}
	return io.EOF
}

// verifySparse checks the tables of a disk without markers.
func (d *Reader) verifySparse(ctx context.Context) error {
	grain := int64(d.header.grainSize)
	start := int64(d.header.overhead)
	// Grains lie in slots of their own size; a bit says that a slot is taken.
	// Pages of bits are made as they are met, so that a few wild sector
	// numbers do not cost memory for the whole range.
	const page = 1 << 16
	taken := map[int64]*[page / 64]uint64{}
	for i := range d.directory {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		table, err := d.table(int64(i))
		if err != nil {
			return err
		}
		if table == nil {
			continue
		}
		where := int64(d.directory[i]) * sector
		for j, entry := range table {
			if entry == 0 {
				continue
			}
			first := (int64(i)*tableEntries + int64(j)) * grain
			slot := (int64(entry) - start) / grain
			need := min(grain, int64(d.header.capacity)-first)
			switch {
			case need <= 0:
				return damaged(where+int64(j)*4, "a grain beyond the end of the disk")
			case (int64(entry)-start)%grain != 0:
				return damaged(where+int64(j)*4, "the grain at sector %d is not aligned to the others", entry)
			case (int64(entry)+need)*sector > d.size:
				return damaged(d.size, "the file ends within the grain of sector %d of the disk", first)
			}
			bits := taken[slot/page]
			if bits == nil {
				bits = new([page / 64]uint64)
				taken[slot/page] = bits
			}
			if bits[slot%page/64]>>(slot%64)&1 == 1 {
				return damaged(where+int64(j)*4, "two grains share sector %d of the file", entry)
			}
			bits[slot%page/64] |= 1 << (slot % 64)
		}
	}
	end, err := d.verifyRedundant(ctx)
	if err != nil {
		return err
	}
	// Between the last of the metadata and the first grain there is nothing.
	end = max(end, int64(d.header.descriptorAt+d.header.descriptorSize)*sector, int64(d.header.gdOffset)*sector+int64(len(d.directory))*4)
	for _, each := range d.directory {
		end = max(end, int64(each)*sector+tableBytes)
	}
	directory := int64(d.header.gdOffset)*sector + int64(len(d.directory))*4
	if err := d.zeros(directory, roundUp(directory, sector)); err != nil {
		return err
	}
	return d.zeros(end, start*sector)
}

// verifyRedundant compares the redundant directory and tables with the others, and
// returns where they end.
func (d *Reader) verifyRedundant(ctx context.Context) (end int64, err error) {
	if d.header.flags&flagRedundant == 0 {
		return 0, nil
	}
	raw := make([]byte, len(d.directory)*4)
	if d.header.rgdOffset > uint64(d.size/sector) {
		return 0, damaged(48, "a redundant directory at sector %d does not fit into the file", d.header.rgdOffset)
	}
	at := int64(d.header.rgdOffset) * sector
	if err := d.read(raw, at); err != nil {
		return 0, err
	}
	end = roundUp(at+int64(len(raw)), sector)
	if err := d.zeros(at+int64(len(raw)), end); err != nil {
		return 0, err
	}
	for i := range d.directory {
		if err := ctx.Err(); err != nil {
			return 0, context.Cause(ctx)
		}
		second := binary.LittleEndian.Uint32(raw[i*4:])
		if (second == 0) != (d.directory[i] == 0) {
			return 0, damaged(at+int64(i)*4, "the redundant directory differs from the first")
		}
		if second == 0 {
			continue
		}
		end = max(end, int64(second)*sector+tableBytes)
		if int64(second)*sector+tableBytes > d.size {
			return 0, damaged(at+int64(i)*4, "redundant grain table %d lies beyond the end of the file", i)
		}
		mine, err := d.table(int64(i))
		if err != nil {
			return 0, err
		}
		other, err := d.readTable(int64(second) * sector)
		if err != nil {
			return 0, err
		}
		if *mine != *other {
			return 0, damaged(int64(second)*sector, "redundant grain table %d differs from the first", i)
		}
	}
	return end, nil
}
