package manifest_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/manifest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type item struct {
	image.Entry
	content string
}

type memory []item

func (m memory) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	for _, each := range m {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := each.Entry
		var r io.Reader
		if e.Type == image.File {
			e.SizeBytes, r = int64(len(each.content)), strings.NewReader(each.content)
		}
		if err := fn(&e, r); err != nil {
			return err
		}
	}
	return nil
}

func file(path, content string) item {
	return item{image.Entry{Path: path, Type: image.File, Mode: 0o644}, content}
}

func link(path, target string) item {
	return item{image.Entry{Path: path, Type: image.Symlink, Mode: 0o777, Link: target}, ""}
}

const status = `Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2
Description: a shell
 with a second line: here

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
`

func example() memory {
	return memory{
		{image.Entry{Path: ".", Type: image.Directory, Mode: 0o755}, ""},
		{image.Entry{Path: "bin/ping", Type: image.File, Mode: 0o4755, Xattrs: map[string]string{"security.capability": "\x01\x00\xff", "user.a": "b"}}, "elf"},
		{image.Entry{Path: "bin/ping6", Type: image.Hardlink, Mode: 0o4755, Link: "bin/ping"}, ""},
		{image.Entry{Path: "dev/null", Type: image.CharDevice, Mode: 0o666, Major: 1, Minor: 3}, ""},
		file("etc/group", "root:x:0:\nsudo:x:27:ops,eve\nadm:x:4:ops\n"),
		file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nops:x:1000:1000::/home/ops:/bin/sh\n"),
		link("etc/systemd/system/multi-user.target.wants/ssh.service", "/lib/systemd/system/ssh.service"),
		link("etc/systemd/system/sshd.service", "/lib/systemd/system/ssh.service"),
		file("tmp/100% \xff", "<&>"),
		file("var/lib/dpkg/status", status),
	}
}

func write(t testing.TB, tree image.Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := manifest.Write(t.Context(), &b, tree); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	data := write(t, example())
	decoder, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	got, err := io.ReadAll(decoder)
	if err != nil {
		t.Fatal(err)
	}
	const name = "testdata/example.jsonl"
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(data, write(t, example())) {
		t.Error("the same tree gave other bytes")
	}
}

func TestCompare(t *testing.T) {
	other := slices.Clone(example())
	other[1].content = "elg"
	other[4] = file("etc/group", "root:x:0:\nsudo:x:27:eve\nadm:x:4:ops\n")
	other[7] = link("etc/systemd/system/sshd.service", "elsewhere")
	other[8] = file("tmp/new", "")
	other[9] = file("var/lib/dpkg/status", strings.Replace(status, "5.2", "5.3", 1))
	found, err := manifest.Compare(bytes.NewReader(write(t, example())), bytes.NewReader(write(t, other)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range found {
		text := d.String()
		if i := strings.Index(text, "sha256 "); i >= 0 {
			text = text[:i] + "sha256"
		}
		got = append(got, text)
	}
	want := []string{
		"path bin/ping: sha256",
		"path etc/group: size 40, 36; sha256",
		"path etc/systemd/system/sshd.service: link /lib/systemd/system/ssh.service, elsewhere",
		"path tmp/100%25 %FF: only in the first",
		"path tmp/new: only in the second",
		"path var/lib/dpkg/status: sha256",
		"package bash:amd64: version 5.2, 5.3",
		"user ops: groups [adm sudo], [adm]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	same, err := manifest.Compare(bytes.NewReader(write(t, example())), bytes.NewReader(write(t, example())))
	if err != nil || len(same) > 0 {
		t.Errorf("%v, %v", same, err)
	}
}

func TestWriteFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := manifest.Write(ctx, io.Discard, example()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	whole := len(write(t, example()))
	for n := range whole {
		if err := manifest.Write(t.Context(), &failAfter{n}, example()); !errors.Is(err, errFull) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

var errFull = errors.New("full")

type failAfter struct{ left int }

func (f *failAfter) Write(p []byte) (int, error) {
	if len(p) > f.left {
		n := f.left
		f.left = 0
		return n, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

func compress(lines string) []byte {
	var b bytes.Buffer
	w, _ := zstd.NewWriter(&b)
	_, _ = io.WriteString(w, lines)
	_ = w.Close()
	return b.Bytes()
}

func TestReadRefuses(t *testing.T) {
	good := write(t, example())
	const header = `{"format":"imagebuild-manifest/1"}` + "\n"
	for name, data := range map[string][]byte{
		"empty":         {},
		"not zstd":      []byte("hello, this is no manifest at all"),
		"empty frame":   compress(""),
		"no header":     compress(`{"path":{"name":"."}}` + "\n"),
		"other version": compress(`{"format":"imagebuild-manifest/9"}` + "\n"),
		"not JSON":      compress(header + "x\n"),
		"long line":     compress(header + strings.Repeat("x", 2<<20)),
		"disorder":      compress(header + `{"path":{"name":"b"}}` + "\n" + `{"path":{"name":"a"}}` + "\n"),
		"cut":           good[:len(good)-3],
		"damaged":       append(append([]byte{}, good[:len(good)-2]...), 0, 0),
	} {
		if _, err := manifest.Compare(bytes.NewReader(data), bytes.NewReader(data)); err == nil {
			t.Errorf("%s was taken", name)
		} else if fault.KindOf(err) != fault.Input {
			t.Errorf("%s: kind %s: %v", name, fault.KindOf(err), err)
		}
	}
}

func FuzzCompare(f *testing.F) {
	var b bytes.Buffer
	if err := manifest.Write(context.Background(), &b, example()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(compress(`{"format":"imagebuild-manifest/1"}` + "\n{}\n{\"user\":{}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := manifest.Compare(bytes.NewReader(data), bytes.NewReader(data))
		if err == nil && len(found) > 0 {
			t.Errorf("differs from itself: %v", found)
		}
	})
}
