package seal_test

import (
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/seal"
	"github.com/org/imagebuild-action/internal/tree"
)

func TestAttributesThatTheDiskWouldLoseGo(t *testing.T) {
	file := func(path string, xattrs map[string]string) tree.Change {
		return tree.Put(image.Entry{Path: path, Type: image.File, Mode: 0o755, SizeBytes: 1, Xattrs: xattrs}, []byte("x"))
	}
	base := tree.Overlay(memory{"etc/systemd/": "", "etc/hosts": "127.0.0.1 localhost\n", "etc/machine-id": ""},
		file("usr/bin/ping", map[string]string{"security.capability": "cap"}),
		file("srv/acl", map[string]string{"system.posix_acl_access": "acl", "user.note": "n"}),
		file("srv/both", map[string]string{"security.capability": "cap", "user.note": "n"}),
	)
	sealed, summary, err := seal.Tree(t.Context(), base, seal.Options{Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	var told []seal.Action
	for _, action := range summary {
		if action.What == seal.Stripped {
			told = append(told, action)
		}
	}
	want := []seal.Action{
		{Path: "srv/acl", What: seal.Stripped, Why: "the disk does not carry system.posix_acl_access, user.note"},
		{Path: "srv/both", What: seal.Stripped, Why: "the disk does not carry user.note"},
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	left := map[string]map[string]string{}
	err = sealed.Walk(t.Context(), func(e *image.Entry, _ io.Reader) error {
		if len(e.Xattrs) > 0 {
			left[e.Path] = e.Xattrs
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	capability := map[string]string{"security.capability": "cap"}
	if diff := cmp.Diff(map[string]map[string]string{"usr/bin/ping": capability, "srv/both": capability}, left); diff != "" {
		t.Error(diff)
	}
}
