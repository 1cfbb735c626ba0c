package tree

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/image"
)

// step changes a tree in every way that a provisioning step may.
func step(t *testing.T, root string) {
	t.Helper()
	at := func(p string) string { return filepath.Join(root, p) }
	for _, err := range []error{
		os.WriteFile(at("first"), []byte("rewritten, both names"), 0o600), // hard-linked with second
		os.WriteFile(at("long/in-place"), []byte("b"), 0o600),             // same size, and the directory's time stays
		os.Remove(at("pipe")),
		os.RemoveAll(at("long/long/long")),
		os.Remove(at("absolute")), os.Mkdir(at("absolute"), 0o750), os.WriteFile(at("absolute/inner"), nil, 0o600), // symlink to directory
		os.RemoveAll(at("holder")), os.Symlink("new", at("holder")), // directory to symlink
		os.MkdirAll(at("new/dir"), 0o755), os.Symlink("dir", at("new/link")),
		os.Link(at("empty"), at("new/hard")),
		os.Chmod(at("null"), 0o600),
		os.Chown(at("ping"), 7, 8),
		unix.Removexattr(at("marked"), "security.one"),
		os.Chtimes(at("new"), time.Unix(77, 0), time.Unix(77, 0)),
		os.Remove(at("bytes-\xff\xfe")), os.Mkdir(at("bytes-\xff\xfe"), 0o700), // file to directory
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLayerEqualsStep applies a step's layer to a second copy of the tree: the
// outcome must be what the step itself left, to the last directory's time.
func TestLayerEqualsStep(t *testing.T) {
	needRoot(t)
	base := Overlay(storable(),
		PutFile("long/in-place", 0o600, []byte("a")), PutFile("holder/file", 0o600, nil),
		Put(image.Entry{Path: "marked", Type: image.Directory, Mode: 0o755, Xattrs: map[string]string{"security.one": "1"}}, nil))
	one, two := t.TempDir(), t.TempDir()
	for _, root := range []string{one, two} {
		done, err := Extract(t.Context(), base, root)
		if err != nil {
			t.Fatal(err)
		}
		if len(done.SkippedDevices) > 0 {
			t.Skip("devices cannot be made here")
		}
	}
	before, err := Snapshot(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	step(t, one)
	after, err := Snapshot(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	var layer, again bytes.Buffer
	changes := Diff(before, after)
	if err := errors.Join(WriteLayer(t.Context(), &layer, one, changes), WriteLayer(t.Context(), &again, one, changes)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(layer.Bytes(), again.Bytes()) {
		t.Error("two layers of the same changes differ")
	}
	if err := ApplyLayer(t.Context(), &layer, two); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(show(t, Dir(one)), show(t, Dir(two))); diff != "" {
		t.Error(diff)
	}
	seconds := Adjust(func(e *image.Entry) { e.ModTime = e.ModTime.Truncate(time.Second) })
	if diff := cmp.Diff(entries(t, Overlay(Dir(one), seconds)), entries(t, Overlay(Dir(two), seconds))); diff != "" {
		t.Error(diff)
	}
}
