package manifest_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/manifest"
)

// written is the manifest of a kept disk, or without one of a tree.
func written(t *testing.T, disk *manifest.Disk, root image.Tree) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	var err error
	if disk == nil {
		err = manifest.Write(t.Context(), &out, root)
	} else {
		err = manifest.WriteDisk(t.Context(), &out, *disk, root)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestDisksAreCompared(t *testing.T) {
	one, other := memory{file("a", "1")}, memory{file("a", "2")}
	known := func(sum string) *manifest.Disk { return &manifest.Disk{SHA256: sum, SizeBytes: 512} }
	unread := func(sum string) *manifest.Disk {
		return &manifest.Disk{SHA256: sum, SizeBytes: 512, Unread: "partition 2 holds NTFS"}
	}
	const notKnown = "are not known, so none is compared: partition 2 holds NTFS"
	for name, c := range map[string]struct {
		a, b         *manifest.Disk
		left, right  image.Tree
		whats, holds string // of the differences
	}{
		"equal":                   {known("aa"), known("aa"), one, one, "", ""},
		"the same files":          {known("aa"), known("bb"), one, one, "disk content", "sha256 aa, bb"},
		"other files":             {known("aa"), known("bb"), one, other, "disk content|path a", ""},
		"a file is another":       {nil, known("bb"), one, other, "path a", ""},
		"only the files count":    {nil, known("bb"), one, one, "", ""},
		"not known, equal":        {unread("aa"), unread("aa"), nil, nil, "", ""},
		"not known, another":      {unread("aa"), unread("bb"), nil, nil, "disk content|disk files|disk files", "those of the second " + notKnown},
		"not known of the first":  {unread("aa"), nil, nil, one, "disk files", "those of the first " + notKnown},
		"not known of the second": {known("aa"), unread("bb"), one, nil, "disk content|disk files", "those of the second " + notKnown},
	} {
		found, err := manifest.Compare(written(t, c.a, c.left), written(t, c.b, c.right))
		if err != nil {
			t.Fatal(err)
		}
		var whats []string
		for _, d := range found {
			whats = append(whats, d.What+" "+d.Name)
		}
		if got := strings.Join(whats, "|"); got != c.whats || !strings.Contains(fmt.Sprint(found), c.holds) {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestDiskWithoutReason(t *testing.T) {
	for _, err := range []error{
		manifest.WriteDisk(t.Context(), &bytes.Buffer{}, manifest.Disk{SHA256: "aa"}, nil),
		manifest.WriteDisk(t.Context(), &bytes.Buffer{}, manifest.Disk{SHA256: "aa", Unread: "why"}, memory{}),
	} {
		if fault.KindOf(err) != fault.Bug {
			t.Errorf("%v", err)
		}
	}
}
