package manifest

import (
	"context"
	"fmt"
	"io"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
)

// Disk is the whole disk of an image that is kept as a machine left it. Its
// files are listed as far as they can be read; the disk has more than them, so
// two images are the same only if their digests are.
type Disk struct {
	SHA256    string `json:"sha256"` // of all bytes, lower-case hex
	SizeBytes int64  `json:"size_bytes"`
	Unread    string `json:"unread,omitempty"` // why no file is listed
}

// WriteDisk writes the manifest of a disk. root is its root filesystem; nil is
// for one that cannot be read, and then disk says why.
func WriteDisk(ctx context.Context, w io.Writer, disk Disk, root image.Tree) error {
	if (root == nil) != (disk.Unread != "") {
		return fault.Errorf(fault.Bug, "write the manifest: a disk whose files are neither known nor unknown (%q)", disk.Unread)
	}
	return write(ctx, w, &disk, root)
}

// compareDisks compares what two manifests say of whole disks. Where the files
// of one are not known, whole is true, and there is nothing else to compare.
func compareDisks(a, b *Disk) (found []Difference, whole bool) {
	var unread []Difference
	for i, each := range []*Disk{a, b} {
		if each != nil && each.Unread != "" {
			which := []string{"first", "second"}[i]
			unread = append(unread, Difference{"disk", "files", fmt.Sprintf("those of the %s are not known, so none is compared: %s", which, each.Unread)})
		}
	}
	whole = len(unread) > 0
	switch {
	case a != nil && b != nil && a.SHA256 == b.SHA256:
		return nil, whole
	case a != nil && b != nil:
		found = []Difference{{"disk", "content", fmt.Sprintf("sha256 %s, %s", a.SHA256, b.SHA256)}}
	}
	return append(found, unread...), whole
}
