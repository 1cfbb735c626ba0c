package emit

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

const (
	blockBytes = 4096
	inodeBytes = 256
	// fastSymlinkBytes is the longest target that an inode holds itself.
	fastSymlinkBytes = 59
	grubDir          = "usr/lib/grub"
)

// found is what one look at the tree tells.
type found struct {
	entries      int
	contentBytes int64
	blocks       int64             // of blockBytes, that content and directories take
	links        map[string]string // symlinks, by path: to find libraries with
	files        map[string]bool   // files in the folders of libraries and programs
}

// survey counts the tree and copies GRUB's own files to work/grub.
func survey(ctx context.Context, r Request, work string) (*found, error) {
	f := &found{links: map[string]string{}, files: map[string]bool{}}
	dirBytes := map[string]int64{}
	err := r.Tree.Walk(ctx, func(e *image.Entry, content io.Reader) error {
		f.entries++
		f.contentBytes += e.SizeBytes
		if e.Path != "." {
			dirBytes[path.Dir(e.Path)] += int64(8+len(path.Base(e.Path))+3) &^ 3
		}
		switch e.Type {
		case image.File:
			f.blocks += (e.SizeBytes + blockBytes - 1) / blockBytes
			if isLibrary(e.Path) {
				f.files[e.Path] = true
			}
			if platform, name, ok := grubFile(e.Path); ok && slices.Contains(r.platforms(), platform) {
				return store(filepath.Join(work, "grub", platform, name), content, 0o644)
			}
		case image.Hardlink:
			f.links[e.Path] = "/" + e.Link
		case image.Symlink:
			f.links[e.Path] = e.Link
			if len(e.Link) > fastSymlinkBytes {
				f.blocks++
			}
		case image.Directory, image.CharDevice, image.BlockDevice, image.FIFO:
		}
		if xattrBytes(e) > inodeBytes-160-32 { // what an inode has left after its own fields
			f.blocks++
		}
		return nil
	})
	for _, n := range dirBytes {
		f.blocks += (n + blockBytes - 1) / blockBytes
	}
	return f, err
}

func xattrBytes(e *image.Entry) (n int) {
	for name, value := range e.Xattrs {
		n += 16 + len(name) + len(value)
	}
	return n
}

func isLibrary(p string) bool {
	return strings.Contains(p, ".so") || strings.HasPrefix(p, "usr/bin/grub-")
}

// grubFile splits usr/lib/grub/PLATFORM/NAME.
func grubFile(p string) (platform, name string, ok bool) {
	dir, name := path.Split(p)
	ext := path.Ext(name)
	return path.Base(dir), name, path.Dir(path.Clean(dir)) == grubDir && (ext == ".mod" || ext == ".lst" || ext == ".img")
}

func store(name string, content io.Reader, mode os.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return run.Explain(err)
	}
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return run.Explain(err)
	}
	_, err = io.Copy(w, content)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	return run.Explain(err)
}

// inodes is how many the root file system gets: one for 16 KiB, as mke2fs does,
// and more where the tree has many small files.
func (f *found) inodes(rootBytes int64) int64 {
	return max(rootBytes/(16<<10), int64(f.entries)*5/4+1024)
}

// journalMebibytes grows with the file system up to what mke2fs gives a disk
// of 8 GiB.
func journalMebibytes(rootBytes int64) int64 {
	return min(max(rootBytes/(64*mebibyte), 4), 64)
}

// needs is the least size of the root file system, short of what cannot be
// known before it is made.
func (f *found) needs(rootBytes int64) int64 {
	return f.blocks*blockBytes + f.inodes(rootBytes)*inodeBytes + journalMebibytes(rootBytes)*mebibyte
}

// tooSmall proposes a size with room for the file system's own structures and
// for first use.
func (f *found) tooSmall(r Request) error {
	const step = 64 * mebibyte
	need := f.blocks*blockBytes + int64(f.entries)*inodeBytes + biosBootBytes + espBytes + 2*mebibyte
	need += need/8 + 64*mebibyte
	need = (max(need, r.SizeBytes+step) + step - 1) / step * step
	return fault.Errorf(fault.Input, "disk.size: the disk of %s is smaller than what goes onto it: %s in %d entries; set disk.size to at least %s (%d bytes)",
		size.Bytes(r.SizeBytes), size.Bytes(f.contentBytes).Human(), f.entries, size.Bytes(need), need)
}

func (r Request) platforms() []string {
	var list []string
	if r.Firmware.BIOS {
		list = append(list, platformBIOS)
	}
	if r.Firmware.UEFI {
		list = append(list, platformUEFI)
	}
	return list
}

// resolve follows symlinks below the tree's root, in every segment.
func (f *found) resolve(p string) (string, error) {
	at, rest := "", strings.Split(strings.Trim(p, "/"), "/")
	for hops := 0; len(rest) > 0; {
		at, rest = path.Join(at, rest[0]), rest[1:]
		link, ok := f.links[at]
		if !ok {
			continue
		}
		if hops++; hops > 40 {
			return "", fmt.Errorf("%s: too many symlinks", p)
		}
		at = path.Dir(at)
		if path.IsAbs(link) {
			at = ""
		}
		at = strings.TrimPrefix(path.Join("/", at), "/")
		for _, part := range slices.Backward(strings.Split(link, "/")) {
			if part != "" && part != "." {
				rest = append([]string{part}, rest...)
			}
		}
	}
	return strings.TrimPrefix(path.Join("/", at), "/"), nil
}
