// Package iso9660 reads files out of the images of optical discs (ECMA-119,
// which is ISO 9660), with the names of Rock Ridge (IEEE P1282, over SUSP, IEEE
// P1281) or Joliet where the disc has them.
//
//	disc, err := iso9660.Open(file, sizeBytes)
//	kernel, err := disc.Open("install.amd64/vmlinuz")
//	_, err = io.Copy(out, kernel)
//
// Names come from Rock Ridge, else from Joliet, else from the disc itself, in
// lower case and without version numbers. Letters that differ in case only are
// the same where the disc has none but its own names.
//
// The bytes are foreign: everything is checked against the size of the image
// and against fixed bounds, and an error names the byte. It refuses logical
// blocks of other sizes than 2048 bytes, interleaved files and UDF, does not
// follow symbolic links, and knows nothing of El Torito.
package iso9660

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

const (
	sectorBytes = 2048
	// Volume descriptors start after the system area (ECMA-119, 6.2.1).
	firstDescriptor = 16
	maxDescriptors  = 64
	maxDirBytes     = 16 << 20 // of one directory
	maxDepth        = 64       // of a path
)

// Disc is an image. It is safe for concurrent use if its reader is.
type Disc struct {
	r         io.ReaderAt
	sizeBytes int64
	volumeID  string
	root      Entry
	names     naming
	skip      int // bytes before the first SUSP field (SP)
}

// naming is where names come from.
type naming int

const (
	plainNames naming = iota
	jolietNames
	rockRidgeNames
)

// Open reads the volume descriptors of an image of sizeBytes bytes. Its errors
// are of kind Input.
func Open(r io.ReaderAt, sizeBytes int64) (*Disc, error) {
	d := &Disc{r: r, sizeBytes: sizeBytes}
	var joliet, primary *Entry
	for i := range maxDescriptors {
		sector := make([]byte, sectorBytes)
		at := int64(firstDescriptor+i) * sectorBytes
		if err := d.read(sector, at); err != nil {
			return nil, err
		}
		if string(sector[1:6]) != "CD001" {
			return nil, d.damaged(at, "no volume descriptor; is it the image of an optical disc?")
		}
		switch kind := sector[0]; {
		case kind == 255: // the end of the set
			return d, d.choose(primary, joliet)
		case kind == 1 && primary == nil, kind == 2 && isJoliet(sector[88:120]):
			if n := binary.LittleEndian.Uint16(sector[128:]); n != sectorBytes {
				return nil, d.damaged(at+128, "logical blocks of %d bytes; only %d is supported", n, sectorBytes)
			}
			root, _, err := d.record(sector[156:190], at+156)
			if err != nil {
				return nil, err
			}
			if kind == 2 {
				joliet = &root
				continue
			}
			primary = &root
			d.volumeID = strings.TrimRight(string(bytes.ToValidUTF8(sector[40:72], nil)), " \x00")
		}
	}
	return nil, d.damaged(firstDescriptor*sectorBytes, "more than %d volume descriptors", maxDescriptors)
}

// isJoliet tells the escape sequences of UCS-2, levels 1 to 3 (Joliet
// specification, 1995, "SVD Escape Sequences Field").
func isJoliet(escape []byte) bool {
	return escape[0] == '%' && escape[1] == '/' && (escape[2] == '@' || escape[2] == 'C' || escape[2] == 'E')
}

// choose decides on the tree and on the names.
func (d *Disc) choose(primary, joliet *Entry) error {
	if primary == nil {
		return d.damaged(firstDescriptor*sectorBytes, "no primary volume descriptor")
	}
	d.root = *primary
	skip, found, err := d.susp(primary)
	switch {
	case err != nil:
		return err
	case found:
		d.names, d.skip = rockRidgeNames, skip
	case joliet != nil:
		d.names, d.root = jolietNames, *joliet
	}
	return nil
}

// VolumeID is the label, as installers look for it.
func (d *Disc) VolumeID() string { return d.volumeID }

// read fills p from the image, or says where it ends.
func (d *Disc) read(p []byte, at int64) error {
	if at < 0 || at > d.sizeBytes-int64(len(p)) {
		return d.damaged(at, "%d bytes are wanted, and the image has %d in all; is it cut short?", len(p), d.sizeBytes)
	}
	if _, err := d.r.ReadAt(p, at); err != nil && err != io.EOF {
		return fault.Errorf(fault.Environment, "read the disc image at byte %d: %w", at, err)
	}
	return nil
}

func (d *Disc) damaged(at int64, format string, args ...any) error {
	return fault.Errorf(fault.Input, "disc image, byte %d: %w", at, fmt.Errorf(format, args...))
}
