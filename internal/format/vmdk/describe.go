package vmdk

import (
	"bytes"
	"strconv"
	"strings"
)

// Descriptor is what the embedded text says about the disk.
type Descriptor struct {
	CreateType  string // monolithicSparse or streamOptimized
	CID         uint32
	AdapterType string // of the disk database; may be empty
	HWVersion   string // of the disk database; may be empty
	Text        string // all of it
}

// Descriptor returns the embedded text, parsed.
func (d *Reader) Descriptor() Descriptor { return d.descriptor }

// readDescriptor parses the text as far as it decides where the data is. Only
// keys count: no path in it is ever opened.
func (d *Reader) readDescriptor() error {
	at := int64(d.header.descriptorAt) * sector
	raw := make([]byte, d.header.descriptorSize*sector) // check has bounded it
	if err := d.read(raw, at); err != nil {
		return err
	}
	text, padding, _ := bytes.Cut(raw, []byte{0})
	if !zero(padding) {
		return damaged(at+int64(len(text)), "bytes after the end of the descriptor")
	}
	d.descriptor.Text = string(text)
	parent, extents := "", 0
	for line := range strings.Lines(d.descriptor.Text) {
		if fields := strings.Fields(line); len(fields) >= 3 && (fields[0] == "RW" || fields[0] == "RDONLY" || fields[0] == "NOACCESS") {
			extents++
			if err := d.checkExtent(at, fields); err != nil {
				return err
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "createtype":
			d.descriptor.CreateType = value
		case "cid":
			cid, err := strconv.ParseUint(value, 16, 32)
			if err != nil {
				return damaged(at, "the descriptor's CID %q is not a number of 32 bits", value)
			}
			d.descriptor.CID = uint32(cid)
		case "parentcid":
			parent = value
		case "ddb.adaptertype":
			d.descriptor.AdapterType = value
		case "ddb.virtualhwversion":
			d.descriptor.HWVersion = value
		}
	}
	if parent != "" && !strings.EqualFold(parent, "ffffffff") {
		return refused("this is a delta disk; its parent (CID %q) is not opened; consolidate the machine's snapshots", parent)
	}
	if extents != 1 {
		return damaged(at, "the descriptor has %d extents instead of one", extents)
	}
	compressed := d.header.flags&flagCompressed != 0
	switch d.descriptor.CreateType {
	case "monolithicSparse":
		compressed = !compressed
	case "streamOptimized":
	default:
		return refused("disks of type %q are not read; convert the disk to streamOptimized", d.descriptor.CreateType)
	}
	if !compressed {
		return damaged(at, "the descriptor says %s, the header's flags %#x do not", d.descriptor.CreateType, d.header.flags)
	}
	return nil
}

// checkExtent compares an extent line with the header. Some writers round the
// header's capacity up to a grain.
func (d *Reader) checkExtent(at int64, fields []string) error {
	sectors, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil || sectors > d.header.capacity || roundUp(sectors, d.header.grainSize) < d.header.capacity || fields[2] != "SPARSE" {
		return damaged(at, "the descriptor's extent %q does not go with a header of %d sectors", strings.Join(fields, " "), d.header.capacity)
	}
	return nil
}

func zero(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }
