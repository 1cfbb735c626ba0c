package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/image"
)

// archived writes tree to a tar and opens it.
func archived(t *testing.T, tree image.Tree) image.Tree {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tree.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteTar(t.Context(), f, tree, nil); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	opened, err := Tar(name)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// everything has an entry of each kind, and names and values that USTAR cannot
// hold.
func everything() memory {
	long := strings.Repeat("long/", 40)
	m := memory{dir(".")}
	for i := range 40 {
		m = append(m, dir(long[:5*i+4]))
	}
	m = append(m,
		file(long+"name with spaces", "x"), file("umlaut-ä", "ä"), file("bytes-\xff\xfe", "raw"),
		symlink("absolute", "/etc/passwd"), symlink("away", "../../"+strings.Repeat("x", 200)),
		file("first", "shared"), link("second", "first"), file("empty", ""),
		item{Entry: image.Entry{Path: "null", Type: image.CharDevice, Mode: 0o666, Major: 1, Minor: 3}},
		item{Entry: image.Entry{Path: "disk", Type: image.BlockDevice, Mode: 0o660, Major: 259, Minor: 70000}},
		item{Entry: image.Entry{Path: "pipe", Type: image.FIFO, Mode: 0o600}},
		item{image.Entry{
			Path: "ping", Type: image.File, Mode: 0o4755, UID: 3000000, GID: 1 << 22,
			Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00" + strings.Repeat("\x00", 12), "user.x": "=\n"},
		}, "elf"},
	)
	slices.SortFunc(m, func(a, b item) int { return compare(a.Path, b.Path) })
	return m
}

func entries(t *testing.T, tree image.Tree) map[string]image.Entry {
	t.Helper()
	all := map[string]image.Entry{}
	err := tree.Walk(t.Context(), func(e *image.Entry, _ io.Reader) error {
		all[e.Path] = *e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTarRoundTrip(t *testing.T) {
	base := everything()
	back := archived(t, base)
	if diff := cmp.Diff(show(t, base), show(t, back)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(entries(t, base), entries(t, back)); diff != "" {
		t.Error(diff)
	}
	var one, two bytes.Buffer
	first, err := WriteTar(t.Context(), &one, base, nil)
	if err != nil {
		t.Fatal(err)
	}
	var seen int64
	second, err := WriteTar(t.Context(), &two, back, func(n int64) { seen = n })
	if err != nil {
		t.Fatal(err)
	}
	if first != second || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("%v and %v", first, second)
	}
	if seen != int64(second.Bytes) || seen != int64(two.Len()) {
		t.Errorf("progress said %d, the digest %d, it was %d", seen, second.Bytes, two.Len())
	}
}

func TestTarForeignOrder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "foreign.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, h := range []tar.Header{
		{Name: "./z/file", Typeflag: tar.TypeReg, Size: 3, Mode: 0o600, ModTime: time.Unix(9, 0)},
		{Name: "a", Typeflag: tar.TypeLink, Linkname: "./z/file", ModTime: time.Unix(9, 0)},
		{Name: "/m/", Typeflag: tar.TypeDir, Mode: 0o700, ModTime: time.Unix(9, 0)},
		{Name: "twice", Typeflag: tar.TypeReg, Size: 3, Mode: 0o600, ModTime: time.Unix(9, 0)},
		{Name: "twice", Typeflag: tar.TypeSymlink, Linkname: "m", ModTime: time.Unix(9, 0)},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("abc")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	tree, err := Tar(name)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{". dir 0755", "a file 0600 abc", "m dir 0700", "twice symlink 0000 -> m", "z dir 0755", "z/file hardlink 0600 -> a"}
	if diff := cmp.Diff(want, show(t, tree)); diff != "" {
		t.Error(diff)
	}
}

func TestTarRefuses(t *testing.T) {
	tests := map[string][]tar.Header{
		"outside":         {{Name: "../x", Typeflag: tar.TypeReg}},
		"hidden outside":  {{Name: "a/../../x", Typeflag: tar.TypeReg}},
		"link outside":    {{Name: "x", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}},
		"dangling link":   {{Name: "x", Typeflag: tar.TypeLink, Linkname: "y"}},
		"circle":          {{Name: "x", Typeflag: tar.TypeLink, Linkname: "y"}, {Name: "y", Typeflag: tar.TypeLink, Linkname: "x"}},
		"through symlink": {{Name: "d", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "d/x", Typeflag: tar.TypeReg}},
	}
	for name, headers := range tests {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			w := tar.NewWriter(&buf)
			for _, h := range headers {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "t.tar")
			if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Tar(path); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// failAfter fails from its n-th write on.
type failAfter struct{ n int }

var errFull = errors.New("full")

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n--; f.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteTarFails(t *testing.T) {
	base := memory{dir("."), file("a", strings.Repeat("x", 3*copyBuffer))}
	n := 0
	for ; ; n++ {
		_, err := WriteTar(t.Context(), &failAfter{n}, base, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("write %d: %v", n, err)
		}
	}
	if n < 2 {
		t.Errorf("only %d writes", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteTar(ctx, io.Discard, base, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzTar(f *testing.F) {
	var buf bytes.Buffer
	if _, err := WriteTar(context.Background(), &buf, everything(), nil); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "t.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		tree, err := Tar(path)
		if err != nil {
			return
		}
		last := ""
		_ = tree.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
			if checkPath(e.Path) != nil || last != "" && !less(last, e.Path) {
				t.Errorf("%q after %q", e.Path, last)
			}
			last = e.Path
			if content != nil {
				_, err := io.Copy(io.Discard, content)
				return err
			}
			return nil
		})
	})
}
