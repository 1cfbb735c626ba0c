package iso9660

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

// ErrNotExist is a path that the disc does not have. errors.Is finds
// fs.ErrNotExist in it, too.
var ErrNotExist = fs.ErrNotExist

// ReadDir lists a folder in the order of the disc. The root is "." or "".
func (d *Disc) ReadDir(name string) ([]Entry, error) {
	e, err := d.find(name)
	if err != nil {
		return nil, err
	}
	return d.list(e, name)
}

// Stat finds a file or folder.
func (d *Disc) Stat(name string) (Entry, error) { return d.find(name) }

// File is the content of a file.
type File struct {
	io.Reader
	SizeBytes int64
}

// Open returns the content of a file.
func (d *Disc) Open(name string) (*File, error) {
	e, err := d.find(name)
	switch {
	case err != nil:
		return nil, err
	case e.Dir:
		return nil, fault.Errorf(fault.Input, "%s on the disc is a folder", name)
	case e.Link:
		return nil, fault.Errorf(fault.Input, "%s on the disc is a symbolic link; name the file that it points to", name)
	}
	parts := make([]io.Reader, len(e.extents))
	for i, x := range e.extents {
		parts[i] = io.NewSectionReader(d.r, x.at, x.bytes)
	}
	return &File{io.MultiReader(parts...), e.SizeBytes}, nil
}

// find walks to a path.
func (d *Disc) find(name string) (Entry, error) {
	at, walked := d.root, ""
	parts := strings.FieldsFunc(path.Clean("/"+name), func(r rune) bool { return r == '/' })
	if len(parts) > maxDepth {
		return at, fault.Errorf(fault.Input, "a path of %d folders: more than %d is not supported", len(parts), maxDepth)
	}
	for _, part := range parts {
		if !at.Dir {
			return at, fault.Errorf(fault.Input, "%s on the disc is not a folder", walked)
		}
		children, err := d.list(at, walked)
		if err != nil {
			return at, err
		}
		found := false
		for _, child := range children {
			if child.Name == part || d.names == plainNames && strings.EqualFold(child.Name, part) {
				at, found = child, true
				break
			}
		}
		walked = path.Join(walked, part)
		if !found {
			return at, fault.Wrap(fault.Input, fmt.Errorf("%s on the disc: %w", walked, ErrNotExist))
		}
	}
	return at, nil
}

// list reads the records of a folder.
func (d *Disc) list(dir Entry, name string) ([]Entry, error) {
	if !dir.Dir {
		return nil, fault.Errorf(fault.Input, "%s on the disc is not a folder", name)
	}
	where := dir.extents[0]
	if where.bytes > maxDirBytes {
		return nil, d.damaged(where.at, "a folder of %d bytes", where.bytes)
	}
	var all []Entry
	more := false // the last file goes on in the next record
	sector := make([]byte, sectorBytes)
	for done := int64(0); done < where.bytes; done += sectorBytes {
		if err := d.read(sector, where.at+done); err != nil {
			return nil, err
		}
		// A record does not cross a sector; zeros fill the rest (ECMA-119, 6.8.1.1).
		for at := 0; at < sectorBytes && sector[at] != 0; at += int(sector[at]) {
			position := where.at + done + int64(at)
			e, flags, err := d.child(sector[at:], position)
			switch {
			case errors.Is(err, errHidden):
				continue
			case err != nil:
				return nil, err
			case more:
				last := &all[len(all)-1]
				last.extents = append(last.extents, e.extents...)
				last.SizeBytes += e.SizeBytes
			default:
				all = append(all, e)
			}
			more = flags&flagMore != 0
		}
	}
	return all, nil
}

// errHidden is a record that is not shown: the folder itself, its parent, or
// what has its place elsewhere.
var errHidden = errors.New("hidden")

// child reads one record of a folder with all its names.
func (d *Disc) child(b []byte, at int64) (e Entry, flags byte, err error) {
	e, system, err := d.record(b, at)
	if err != nil {
		return e, 0, err
	}
	flags = b[25]
	if e.Name == "." || e.Name == ".." {
		return e, flags, errHidden
	}
	if d.names != rockRidgeNames {
		return e, flags, nil
	}
	r, err := d.rockRidge(system, at)
	if err != nil {
		return e, flags, err
	}
	if r.moved {
		return e, flags, errHidden
	}
	if r.hasName {
		e.Name = r.name
	}
	e.Link = r.link
	if r.child > 0 { // Rock Ridge moves folders that are too deep for ISO 9660
		first := make([]byte, sectorBytes)
		if err := d.read(first, r.child*sectorBytes); err != nil {
			return e, flags, err
		}
		itself, _, err := d.record(first, r.child*sectorBytes)
		if err != nil {
			return e, flags, err
		}
		e.Dir, e.SizeBytes, e.extents = true, itself.SizeBytes, itself.extents
	}
	return e, flags, nil
}
