package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
)

// xattrPrefix is how pax archives name extended attributes (star(4), and what
// libarchive and GNU tar read).
const xattrPrefix = "SCHILY.xattr."

// Tar returns the tree in the uncompressed tar archive at path, read through
// an index that is made now. Any order of members is accepted; of two members
// with one name the later counts. Missing directories are made up with mode
// 0755. Sparse members and names that leave the tree are refused.
func Tar(path string) (image.Tree, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &tarTree{file: path}
	if err := t.readIndex(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

type tarTree struct {
	file    string
	members []member // in the order of a Tree
}

type member struct {
	image.Entry
	offset int64 // of a file's content in the archive
}

func (t *tarTree) readIndex(f io.ReadSeeker) error {
	byPath := map[string]*member{}
	r := tar.NewReader(f)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		entry, skip, err := fromHeader(header)
		if err != nil {
			return err
		}
		if skip {
			continue
		}
		m := &member{Entry: entry}
		// The reader takes whole blocks and no more, so this is the content.
		if m.offset, err = f.Seek(0, io.SeekCurrent); err != nil {
			return err
		}
		byPath[entry.Path] = m
	}
	for p := range byPath {
		for dir := p; dir != "."; {
			if dir = path.Dir(dir); byPath[dir] != nil {
				break
			}
			byPath[dir] = &member{Entry: image.Entry{Path: dir, Type: image.Directory, Mode: 0o755, ModTime: byPath[p].ModTime}}
		}
	}
	return t.sort(byPath)
}

// sort puts the members in order and makes the first name of every hard-linked
// file the file.
func (t *tarTree) sort(byPath map[string]*member) error {
	paths := make([]string, 0, len(byPath))
	for p := range byPath {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, compare)
	first := map[*member]string{}
	for _, p := range paths {
		if dir := byPath[path.Dir(p)]; dir.Type != image.Directory {
			return fmt.Errorf("%s: %s is a %s, not a directory", p, dir.Path, dir.Type)
		}
		m, err := linked(byPath, p)
		if err != nil {
			return err
		}
		out := *m
		out.Path = p
		if name, ok := first[m]; ok {
			out.Type, out.Link, out.SizeBytes = image.Hardlink, name, 0
		} else {
			first[m] = p
		}
		t.members = append(t.members, out)
	}
	return nil
}

func linked(byPath map[string]*member, p string) (*member, error) {
	m := byPath[p]
	for range len(byPath) {
		if m.Type != image.Hardlink {
			break
		}
		target := byPath[m.Link]
		if target == nil || target.Type == image.Directory {
			return nil, fmt.Errorf("%s: hard link to %s, which is not there", p, m.Link)
		}
		m = target
	}
	if m.Type == image.Hardlink {
		return nil, fmt.Errorf("%s: hard links in a circle", p)
	}
	return m, nil
}

func fromHeader(h *tar.Header) (entry image.Entry, skip bool, err error) {
	name, err := cleanName(h.Name)
	if err != nil {
		return entry, false, err
	}
	entry = image.Entry{
		Path: name, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, //nolint:gosec // masked
		ModTime: h.ModTime.UTC(), Major: h.Devmajor, Minor: h.Devminor,
	}
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return entry, false, fmt.Errorf("%s: a sparse member; write the archive without sparse files", name)
		}
		if attr, ok := strings.CutPrefix(key, xattrPrefix); ok {
			if entry.Xattrs == nil {
				entry.Xattrs = map[string]string{}
			}
			entry.Xattrs[attr] = value
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		entry.Type, entry.SizeBytes = image.File, h.Size
	case tar.TypeDir:
		entry.Type = image.Directory
	case tar.TypeSymlink:
		entry.Type, entry.Link = image.Symlink, h.Linkname
	case tar.TypeLink:
		entry.Type = image.Hardlink
		entry.Link, err = cleanName(h.Linkname)
	case tar.TypeChar:
		entry.Type = image.CharDevice
	case tar.TypeBlock:
		entry.Type = image.BlockDevice
	case tar.TypeFifo:
		entry.Type = image.FIFO
	case tar.TypeXGlobalHeader:
		return entry, true, nil
	default:
		err = fmt.Errorf("%s: member type %q is not supported", name, h.Typeflag)
	}
	if entry.Type != image.CharDevice && entry.Type != image.BlockDevice {
		entry.Major, entry.Minor = 0, 0
	}
	return entry, false, err
}

// cleanName takes the spellings "./a/b", "a/b/" and "/a/b" for a/b, as tar
// does, and refuses "..".
func cleanName(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%q: %w", name, errPath)
		}
	}
	clean := path.Clean("./" + strings.TrimLeft(name, "/"))
	return clean, checkPath(clean)
}

// Walk implements image.Tree.
func (t *tarTree) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	f, err := os.Open(t.file)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range t.members {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.members[i].show(f, fn); err != nil {
			return err
		}
	}
	return nil
}

func (t *tarTree) openEntry(p string, fn func(*image.Entry, io.Reader) error) error {
	i := sort.Search(len(t.members), func(i int) bool { return !less(t.members[i].Path, p) })
	if i == len(t.members) || t.members[i].Path != p {
		return fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	}
	f, err := os.Open(t.file)
	if err != nil {
		return err
	}
	defer f.Close()
	return t.members[i].show(f, fn)
}

func (m *member) show(f *os.File, fn func(*image.Entry, io.Reader) error) error {
	entry := m.Entry
	if entry.Type != image.File {
		return fn(&entry, nil)
	}
	return fn(&entry, &wholeReader{io.NewSectionReader(f, m.offset, entry.SizeBytes), entry.SizeBytes})
}

// wholeReader fails when the content ends early: the archive was cut short
// after its index was made.
type wholeReader struct {
	r    io.Reader
	left int64
}

func (w *wholeReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	if err == io.EOF && w.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
