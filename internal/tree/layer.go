package tree

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
)

// removedName is the first member of a layer: the removed paths, each ended by
// a NUL. No tree may hold this name.
const removedName = ".imagebuild-removed"

// maxRemovedBytes bounds the list of removed paths that ApplyLayer reads.
const maxRemovedBytes = 64 << 20

// WriteLayer writes what changed in the directory root as a tar archive, from
// which ApplyLayer makes the same changes elsewhere.
func WriteLayer(ctx context.Context, w io.Writer, root string, changes Changes) error {
	b, err := openBeneath(root)
	if err != nil {
		return err
	}
	defer b.Close()
	buffered := bufio.NewWriterSize(w, copyBuffer)
	archive := tar.NewWriter(buffered)
	removed := strings.Join(append(changes.removed, ""), "\x00")
	list := &image.Entry{Path: removedName, Type: image.File, SizeBytes: int64(len(removed))}
	buf := make([]byte, copyBuffer)
	if err := writeEntry(ctx, archive, list, strings.NewReader(removed), buf); err != nil {
		return err
	}
	for i := range changes.changed {
		r := &changes.changed[i]
		if r.Path == removedName {
			return fmt.Errorf("%s: the name is reserved", r.Path)
		}
		content := &lazyFile{b: b, path: r.Path, left: r.SizeBytes, inode: r.inode}
		err := writeEntry(ctx, archive, &r.Entry, content, buf)
		content.close()
		if err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// ApplyLayer makes the changes of a layer in the directory root. After an
// error the directory is in no defined state; start from a fresh one. No name
// in the layer can lead outside root.
func ApplyLayer(ctx context.Context, r io.Reader, root string) error {
	b, err := openBeneath(root)
	if err != nil {
		return run.Explain(err)
	}
	defer b.Close()
	archive := tar.NewReader(r)
	x := &extractor{b: b, over: true, buf: make([]byte, copyBuffer), done: &Extracted{}}
	kept := &keptTimes{b: b, times: map[string]time.Time{}}
	if err := applyRemovals(archive, b, kept); err != nil {
		return err
	}
	for {
		entry, err := nextEntry(archive)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = kept.keep(path.Dir(entry.Path))
		}
		if err == nil {
			err = b.makeRoom(entry)
		}
		if err == nil {
			err = x.entry(ctx, entry, archive)
		}
		if err != nil {
			return run.Explain(fmt.Errorf("apply layer: %w", err))
		}
	}
	// The layer's own times come last, and so they win.
	if err := errors.Join(kept.restore(), x.finish()); err != nil {
		return run.Explain(err)
	}
	_, err = io.Copy(io.Discard, r) // so that the reader below can check its digest
	return err
}

func applyRemovals(archive *tar.Reader, b *beneath, kept *keptTimes) error {
	entry, err := nextEntry(archive)
	switch {
	case err != nil:
		return fmt.Errorf("read layer: %w", err)
	case entry.Path != removedName || entry.Type != image.File || entry.SizeBytes > maxRemovedBytes:
		return fmt.Errorf("read layer: it begins with %s %q, not with its list of removed paths", entry.Type, entry.Path)
	}
	list, err := io.ReadAll(archive)
	if err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	for p := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if p == "" {
			continue
		}
		if err := checkPath(p); err != nil {
			return err
		}
		if err := errors.Join(kept.keep(path.Dir(p)), b.remove(p)); err != nil {
			return run.Explain(err)
		}
	}
	return nil
}

func nextEntry(archive *tar.Reader) (*image.Entry, error) {
	for {
		header, err := archive.Next()
		if err != nil {
			return nil, err
		}
		entry, skip, err := fromHeader(header)
		if err != nil || !skip {
			return &entry, err
		}
	}
}

// makeRoom removes what stands where entry goes, unless both are directories.
func (b *beneath) makeRoom(entry *image.Entry) error {
	if entry.Path == "." {
		return nil
	}
	if err := checkPath(entry.Path); err != nil {
		return err
	}
	fd, base, err := b.parent(entry.Path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return &os.PathError{Op: "stat", Path: entry.Path, Err: err}
	case st.Mode&unix.S_IFMT == unix.S_IFDIR && entry.Type == image.Directory:
		return dropXattrs(fd, base, entry)
	}
	return b.remove(entry.Path)
}

// dropXattrs removes those that the entry to come does not have.
func dropXattrs(fd int, base string, entry *image.Entry) error {
	old, err := xattrs(fd, base)
	for key := range old {
		if _, ok := entry.Xattrs[key]; !ok {
			err = errors.Join(err, unix.Lremovexattr(proc(fd, base), key))
		}
	}
	return err
}

// keptTimes puts back the times of directories that only the applying of a
// layer touches: a step that rewrites a file in place leaves its directory's
// time alone, and so must we, or a build from a checkpoint would differ.
type keptTimes struct {
	b     *beneath
	times map[string]time.Time
}

// keep notes a directory's time, once. A directory that is not there is new.
func (k *keptTimes) keep(dir string) error {
	if _, ok := k.times[dir]; ok {
		return nil
	}
	fd, err := k.b.dir(dir)
	if noDirectory(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	k.times[dir] = time.Unix(st.Mtim.Unix())
	return nil
}

func (k *keptTimes) restore() error {
	for dir, t := range k.times {
		fd, err := k.b.dir(dir)
		if noDirectory(err) {
			continue // gone since
		}
		if err == nil {
			err = setTime(fd, ".", dir, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func noDirectory(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// remove removes a path and all below it. What is not there is no error.
func (b *beneath) remove(p string) error {
	fd, base, err := b.parent(p)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	err = unix.Unlinkat(fd, base, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return &os.PathError{Op: "remove", Path: p, Err: err}
	}
	names, _, err := list(b, p)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := b.remove(path.Join(p, name)); err != nil {
			return err
		}
	}
	b.forget() // it may be the directory that goes
	if fd, base, err = b.parent(p); err != nil {
		return err
	}
	if err := unix.Unlinkat(fd, base, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "remove", Path: p, Err: err}
	}
	return nil
}

// Stream returns the tree in a canonical tar that can be read only once, such
// as one that is being decompressed. A second Walk is an error.
func Stream(r io.Reader) image.Tree { return &streamTree{r: r} }

type streamTree struct {
	r    io.Reader
	used bool
}

// Walk implements image.Tree.
func (t *streamTree) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	if t.used {
		return errors.New("a tree in a stream can be walked once")
	}
	t.used = true
	archive := tar.NewReader(t.r)
	for last := ""; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		entry, err := nextEntry(archive)
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, t.r) // as in ApplyLayer
			return err
		}
		if err != nil {
			return err
		}
		if last != "" && !less(last, entry.Path) {
			return fmt.Errorf("%s: the archive is not in canonical order", entry.Path)
		}
		last = entry.Path
		var content io.Reader
		if entry.Type == image.File {
			content = archive
		}
		if err := fn(entry, content); err != nil {
			return err
		}
	}
}
