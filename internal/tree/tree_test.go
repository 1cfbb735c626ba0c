package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/image"
)

// memory is a Tree of entries and contents, in the order given.
type memory []item

type item struct {
	image.Entry
	content string
}

func (m memory) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	for _, each := range m {
		if err := ctx.Err(); err != nil {
			return err
		}
		entry := each.Entry
		if entry.ModTime.IsZero() {
			entry.ModTime = time.Unix(1000, 0).UTC()
		}
		var content io.Reader
		if entry.Type == image.File {
			entry.SizeBytes = int64(len(each.content))
			content = strings.NewReader(each.content)
		}
		if err := fn(&entry, content); err != nil {
			return err
		}
	}
	return nil
}

func dir(path string) item {
	return item{Entry: image.Entry{Path: path, Type: image.Directory, Mode: 0o755}}
}

func file(path, content string) item {
	return item{image.Entry{Path: path, Type: image.File, Mode: 0o644}, content}
}

func link(path, target string) item {
	return item{Entry: image.Entry{Path: path, Type: image.Hardlink, Mode: 0o644, Link: target}}
}

func symlink(path, target string) item {
	return item{Entry: image.Entry{Path: path, Type: image.Symlink, Mode: 0o777, Link: target}}
}

// show lists a tree, one line an entry.
func show(t *testing.T, tree image.Tree) []string {
	t.Helper()
	var lines []string
	last := ""
	err := tree.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
		if last != "" && !less(last, e.Path) {
			t.Errorf("%s comes after %s", e.Path, last)
		}
		last = e.Path
		line := fmt.Sprintf("%s %s %04o", e.Path, e.Type, e.Mode)
		switch e.Type {
		case image.File:
			data, err := io.ReadAll(content)
			if err != nil {
				return err
			}
			if int64(len(data)) != e.SizeBytes {
				t.Errorf("%s: %d bytes, announced %d", e.Path, len(data), e.SizeBytes)
			}
			line += " " + string(data)
		case image.Symlink, image.Hardlink:
			line += " -> " + e.Link
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestOverlay(t *testing.T) {
	base := memory{
		dir("."), dir("a"), file("a-b", "dash"), file("a/one", "1"), link("a/two", "a/one"), link("b", "a/one"),
		dir("etc"), file("etc/passwd", "root\n"), symlink("lib", "usr/lib"), dir("usr"), dir("usr/lib"),
		dir("var"), dir("var/log"), dir("var/log/apt"), file("var/log/apt/history", "x"), file("var/log/dpkg.log", "y"),
	}
	upper := func(old []byte) ([]byte, error) { return bytes.ToUpper(old), nil }
	tests := []struct {
		name    string
		changes []Change
		gone    []string
		want    []string // lines that must be there
		err     string
	}{
		{name: "nothing", want: []string{"a/two hardlink 0644 -> a/one", "b hardlink 0644 -> a/one"}},
		{name: "promote", changes: []Change{Remove("a/one")}, gone: []string{"a/one"}, want: []string{"a/two file 0644 1", "b hardlink 0644 -> a/two"}},
		{name: "promote twice", changes: []Change{Remove("a")}, gone: []string{"a", "a/one", "a/two"}, want: []string{"b file 0644 1"}},
		{name: "edit promoted", changes: []Change{Remove("a"), Edit("b", func(o []byte) ([]byte, error) { return append(o, "23"...), nil })}, want: []string{"b file 0644 123"}},
		{name: "edit by a later name", changes: []Change{Edit("b", func([]byte) ([]byte, error) { return []byte("new"), nil })}, want: []string{"a/one file 0644 new"}},
		{name: "empty a directory", changes: []Change{Remove("var/log/**")}, gone: []string{"var/log/apt", "var/log/apt/history", "var/log/dpkg.log"}, want: []string{"var/log dir 0755"}},
		{name: "remove a directory", changes: []Change{Remove("var/log")}, gone: []string{"var/log", "var/log/apt", "var/log/apt/history"}},
		{name: "any depth", changes: []Change{Remove("**/*.log")}, gone: []string{"var/log/dpkg.log"}, want: []string{"var/log/apt/history file 0644 x"}},
		{name: "remove if", changes: []Change{RemoveIf(func(e *image.Entry) bool { return e.Type == image.Symlink })}, gone: []string{"lib"}},
		{name: "root stays", changes: []Change{RemoveIf(func(*image.Entry) bool { return true })}, want: []string{". dir 0755"}, gone: []string{"a"}},
		{name: "put with parents", changes: []Change{PutFile("srv/a/b/c", 0o600, []byte("hi"))}, want: []string{"srv dir 0755", "srv/a dir 0755", "srv/a/b dir 0755", "srv/a/b/c file 0600 hi"}},
		{name: "put over a name", changes: []Change{PutFile("a/one", 0o640, []byte("n"))}, want: []string{"a/one file 0640 n", "a/two file 0644 1", "b hardlink 0644 -> a/two"}},
		{name: "put empty, edit", changes: []Change{PutFile("z", 0o644, nil), Edit("z", func(o []byte) ([]byte, error) { return append(o, 'q'), nil })}, want: []string{"z file 0644 q"}},
		{name: "put symlink", changes: []Change{PutSymlink("etc/passwd", "shadow")}, want: []string{"etc/passwd symlink 0777 -> shadow"}},
		{name: "put hardlink", changes: []Change{Put(image.Entry{Path: "0", Type: image.Hardlink, Link: "etc/passwd"}, nil)}, want: []string{"0 file 0644 root\n", "etc/passwd hardlink 0644 -> 0"}},
		{name: "edit", changes: []Change{Edit("etc/passwd", upper)}, want: []string{"etc/passwd file 0644 ROOT\n"}},
		{name: "edit missing", changes: []Change{Edit("nope", upper)}, err: "edit nope"},
		{name: "edit if exists", changes: []Change{EditIfExists("nope", upper)}},
		{name: "edit a directory", changes: []Change{Edit("etc", upper)}, err: "it is a dir"},
		{name: "through a symlink", changes: []Change{PutFile("lib/x", 0o644, nil)}, err: "symlink to usr/lib"},
		{name: "through a file", changes: []Change{PutFile("b/x", 0o644, nil)}, err: "b is not a directory"},
		{name: "over a directory", changes: []Change{PutFile("etc", 0o644, nil)}, err: "a directory is there"},
		{name: "outside", changes: []Change{PutFile("../x", 0o644, nil)}, err: "not a clean relative path"},
		{name: "absolute", changes: []Change{PutFile("/x", 0o644, nil)}, err: "not a clean relative path"},
		{name: "bad pattern", changes: []Change{Remove("a[")}, err: "syntax error"},
		{name: "adjust", changes: []Change{Adjust(func(e *image.Entry) { e.Mode = 0o700; e.Path = "evil" })}, want: []string{"a dir 0700", "a/one file 0700 1"}},
		{name: "failing edit", changes: []Change{Edit("b", func([]byte) ([]byte, error) { return nil, errors.New("no") })}, err: "edit a/one: no"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := Overlay(base, test.changes...)
			if test.err != "" {
				err := tree.Walk(t.Context(), func(*image.Entry, io.Reader) error { return nil })
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want %q", err, test.err)
				}
				return
			}
			got := show(t, tree)
			for _, want := range test.want {
				if !slices.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
				}
			}
			for _, gone := range test.gone {
				if slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, gone+" ") }) {
					t.Errorf("%s is still there", gone)
				}
			}
			if again := show(t, tree); !slices.Equal(got, again) {
				t.Errorf("a second walk differs: %s", cmp.Diff(got, again))
			}
			var layered image.Tree = base
			for _, c := range test.changes {
				layered = Overlay(layered, c)
			}
			if stacked := show(t, layered); !slices.Equal(got, stacked) {
				t.Errorf("stacked overlays differ: %s", cmp.Diff(got, stacked))
			}
		})
	}
}

func TestOverlayTimes(t *testing.T) {
	epoch := time.Unix(5000, 0).UTC()
	base := memory{dir("."), {Entry: image.Entry{Path: "new", Type: image.File, ModTime: time.Unix(9000, 5).UTC()}}, {Entry: image.Entry{Path: "old", Type: image.File, ModTime: time.Unix(7, 5).UTC()}}}
	want := map[string]int64{".": 1000, "new": 5000, "old": 7, "put": 5000, "after": 0}
	err := Overlay(base, PutFile("put", 0o644, nil), ClampTimes(epoch), PutFile("after", 0o644, nil)).Walk(t.Context(), func(e *image.Entry, _ io.Reader) error {
		if e.ModTime.Unix() != want[e.Path] || e.ModTime.Nanosecond() != 0 {
			t.Errorf("%s: %s, want %d", e.Path, e.ModTime, want[e.Path])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadFile(t *testing.T) {
	base := memory{dir("."), file("a", "hello"), link("b", "a"), symlink("c", "a")}
	trees := map[string]image.Tree{"memory": base, "overlay": Overlay(base), "tar": archived(t, base)}
	for name, tree := range trees {
		for _, path := range []string{"a", "b"} {
			if got, err := ReadFile(t.Context(), tree, path); err != nil || string(got) != "hello" {
				t.Errorf("%s: %s: %q, %v", name, path, got, err)
			}
		}
		if _, err := ReadFile(t.Context(), tree, "c"); err == nil {
			t.Errorf("%s: a symlink was read", name)
		}
		if _, err := ReadFile(t.Context(), tree, "d"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
