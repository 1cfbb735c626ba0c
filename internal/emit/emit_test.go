package emit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/gpt"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/toolroot"
	"github.com/org/imagebuild-action/internal/tree"
)

// tool returns a good mke2fs. It downloads one only where oracles are required.
func tool(t *testing.T) toolroot.Tool {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "imagebuild-test")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := os.Stat(filepath.Join(cache, "tools")); err != nil && os.Getenv("REQUIRE_TOOLS") != "1" {
		t.Skip("no mke2fs of a good version is at hand; REQUIRE_TOOLS=1 fetches one")
	}
	found, err := toolroot.Mke2fs(ctx, cache, report.Discard.Begin("tools"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func request(t *testing.T, sizeBytes int64, changes ...tree.Change) Request {
	t.Helper()
	return Request{
		Tree: tree.Overlay(tree.Dir(t.TempDir()), append(changes, tree.Adjust(func(e *image.Entry) { e.UID, e.GID, e.ModTime = 0, 0, time.Unix(1e9, 0) }))...),
		Path: filepath.Join(t.TempDir(), "disk.raw"), SizeBytes: sizeBytes, Identity: target.Identity{7},
		Epoch: time.Unix(1700000000, 0), Firmware: Firmware{BIOS: true, UEFI: true},
	}
}

// root makes only the root file system, in a file of its own.
func root(ctx context.Context, t *testing.T, r Request) (string, error) {
	t.Helper()
	r.Mke2fs = tool(t)
	work := t.TempDir()
	f, err := survey(ctx, r, work)
	if err != nil {
		return "", err
	}
	disk, err := os.Create(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(r.SizeBytes); err != nil {
		t.Fatal(err)
	}
	p := &gpt.Partition{First: gpt.AlignSectors, Last: r.SizeBytes/gpt.SectorSize - 1}
	if err := r.makeRoot(ctx, r.Path, work, p, f, report.Discard.Begin("root")); err != nil {
		return "", err
	}
	data, err := os.ReadFile(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "root.img")
	return name, os.WriteFile(name, data[p.OffsetBytes():], 0o600)
}

func sampleChanges() []tree.Change {
	long := strings.Repeat("long-", 40)
	return []tree.Change{
		tree.PutFile("etc/motd", 0o640, []byte("hello\n")),
		tree.PutFile("usr/share/Grüße aus Köln/"+long, 0o644, bytes.Repeat([]byte("x"), 3<<20)),
		tree.PutFile("usr/share/quote'd \"name\" \\ and\ttab", 0o644, []byte("q")),
		tree.Put(image.Entry{Path: "usr/bin/ping", Type: image.File, Mode: 0o4755, SizeBytes: 4, Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}}, []byte("ping")),
		tree.Put(image.Entry{Path: "usr/bin/zing", Type: image.Hardlink, Link: "usr/bin/ping"}, nil),
		tree.PutSymlink("usr/link", "/"+long+long),
		tree.Put(image.Entry{Path: "dev/null", Type: image.CharDevice, Mode: 0o666, Major: 1, Minor: 3}, nil),
		tree.PutDir("tmp", 0o1777),
	}
}

func TestRootFileSystem(t *testing.T) {
	var images [2]string
	for i := range images {
		name, err := root(t.Context(), t, request(t, 64<<20, sampleChanges()...))
		if err != nil {
			t.Fatal(err)
		}
		images[i] = name
	}
	a, _ := os.ReadFile(images[0])
	b, _ := os.ReadFile(images[1])
	if !bytes.Equal(a, b) {
		t.Error("two runs differ")
	}
	debugfs := func(command string) string {
		out, err := exec.CommandContext(t.Context(), testkit.Tool(t, "debugfs"), "-R", command, images[0]).CombinedOutput()
		if err != nil {
			t.Fatalf("debugfs %s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	out, err := exec.CommandContext(t.Context(), testkit.Tool(t, "e2fsck"), "-fn", images[0]).CombinedOutput()
	if err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	for command, want := range map[string]string{
		"stat /usr/bin/zing":                        "Links: 2",
		"stat /usr/bin/ping":                        "04755",
		"ea_list /usr/bin/ping":                     "security.capability (20)",
		"stat /tmp":                                 "01777",
		"stat /dev/null":                            "character special",
		"cat /etc/motd":                             "hello",
		"stat /":                                    "0755",
		"ls -l \"/usr/share/Grüße aus Köln\"":       "long-long",
		"stat \"/usr/share/quote'd \"\"name\"\" \\": "",
	} {
		if got := debugfs(command); !strings.Contains(got, want) {
			t.Errorf("debugfs %s: no %q in\n%s", command, want, got)
		}
	}
}

// broken fails after so many entries.
type broken struct {
	image.Tree
	after int
	err   error
}

func (b broken) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	n := 0
	return b.Tree.Walk(ctx, func(e *image.Entry, r io.Reader) error {
		if n++; n > b.after {
			return b.err
		}
		return fn(e, r)
	})
}

func TestRootFails(t *testing.T) {
	errRead := errors.New("cannot read")
	t.Run("tree", func(t *testing.T) {
		r := request(t, 64<<20, sampleChanges()...)
		r.Tree = &onSecondWalk{broken{r.Tree, 5, errRead}, 0}
		if _, err := root(t.Context(), t, r); !errors.Is(err, errRead) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("full", func(t *testing.T) {
		r := request(t, 16<<20, tree.PutFile("big", 0o644, bytes.Repeat([]byte("x"), 15<<20)))
		_, err := root(t.Context(), t, r)
		if fault.KindOf(err) != fault.Input || !strings.Contains(fmt.Sprint(err), "set disk.size to at least") {
			t.Errorf("error is %v (%s)", err, fault.KindOf(err))
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := request(t, 64<<20, sampleChanges()...)
		r.Tree = &onSecondWalk{broken{cancelling{r.Tree, cancel}, 1 << 30, nil}, 0}
		if _, err := root(ctx, t, r); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
}

// onSecondWalk is sound at the first walk, which surveys.
type onSecondWalk struct {
	broken
	walks int
}

func (o *onSecondWalk) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	if o.walks++; o.walks == 1 {
		if c, ok := o.Tree.(cancelling); ok {
			return c.Tree.Walk(ctx, fn)
		}
		return o.Tree.Walk(ctx, fn)
	}
	return o.broken.Walk(ctx, fn)
}

type cancelling struct {
	image.Tree
	cancel context.CancelFunc
}

func (c cancelling) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	return c.Tree.Walk(ctx, func(e *image.Entry, r io.Reader) error {
		c.cancel()
		return fn(e, r)
	})
}

func TestDiskRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Request)
		want   string
	}{
		{"not whole", func(r *Request) { r.SizeBytes++ }, "multiple of 1MiB"},
		{"no loader", func(*Request) {}, "grub-common"},
		{"tiny", func(r *Request) { r.SizeBytes = 16 << 20 }, "set disk.size to at least"},
		{"small", func(r *Request) { r.SizeBytes = 80 << 20 }, "set disk.size to at least"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := request(t, 1<<30, tree.PutFile("big", 0o644, make([]byte, 15<<20)))
			test.change(&r)
			_, err := Disk(t.Context(), r, report.Discard.Begin("disk"))
			if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v (%s), want an input fault with %q", err, fault.KindOf(err), test.want)
			}
			if left, _ := os.ReadDir(filepath.Dir(r.Path)); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
	r := request(t, 1<<30)
	r.Firmware = Firmware{}
	if _, err := Disk(t.Context(), r, report.Discard.Begin("disk")); err == nil {
		t.Error("a disk for no firmware is made")
	}
}

func TestLayout(t *testing.T) {
	for _, test := range []struct {
		firmware Firmware
		want     []string
	}{
		{Firmware{BIOS: true, UEFI: true}, []string{"bios", "esp", "root"}},
		{Firmware{BIOS: true}, []string{"bios", "root"}},
		{Firmware{UEFI: true}, []string{"esp", "root"}},
	} {
		r := request(t, 4<<30)
		r.Firmware = test.firmware
		l, err := r.layout()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range l.table.Partitions {
			names = append(names, p.Name)
		}
		if !slices.Equal(names, test.want) || l.root == nil || (l.bios != nil) != test.firmware.BIOS || (l.esp != nil) != test.firmware.UEFI {
			t.Errorf("%+v: partitions are %q", test.firmware, names)
		}
	}
}

func TestBIOSImages(t *testing.T) {
	boot := bytes.Repeat([]byte{1}, 512)
	core, code, err := biosImages(bytes.Repeat([]byte{2}, 1025), boot, 2048, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if len(core) != 1536 || le.Uint64(core[0x1f4:]) != 2049 || le.Uint16(core[0x1fc:]) != 2 || le.Uint16(core[0x1fe:]) != 0x820 {
		t.Errorf("core image: %d bytes, block list % x", len(core), core[0x1f4:0x200])
	}
	if len(code) != 440 || le.Uint64(code[0x5c:]) != 2048 || code[0x64] != 0xff || code[0x66] != 0x90 || code[0x67] != 0x90 {
		t.Errorf("boot code: %d bytes, % x", len(code), code[0x5c:0x68])
	}
	for name, length := range map[string]int{"short": 100, "long": 1<<20 + 1} {
		if _, _, err := biosImages(make([]byte, length), boot, 2048, 1<<20); err == nil {
			t.Errorf("a core image that is too %s is accepted", name)
		}
	}
	if _, _, err := biosImages(make([]byte, 1024), make([]byte, 439), 2048, 1<<20); err == nil {
		t.Error("a boot.img that is too short is accepted")
	}
}

func TestResolve(t *testing.T) {
	f := &found{links: map[string]string{
		"lib64": "usr/lib64", "lib": "usr/lib", "usr/lib64/ld.so": "/lib/x/ld-2.so", "usr/lib/x/libc.so.6": "libc-2.so",
		"usr/lib/x/up": "../../lib/x/libc-2.so", "loop": "loop2", "loop2": "loop", "usr/out": "../../../../etc/passwd",
	}}
	for in, want := range map[string]string{
		"/lib64/ld.so":    "usr/lib/x/ld-2.so",
		"lib/x/libc.so.6": "usr/lib/x/libc-2.so",
		"lib/x/up":        "usr/lib/x/libc-2.so",
		"usr/out":         "etc/passwd",
		"plain":           "plain",
	} {
		if got, err := f.resolve(in); err != nil || got != want {
			t.Errorf("resolve(%s) is %s, %v; want %s", in, got, err, want)
		}
	}
	if _, err := f.resolve("loop"); err == nil {
		t.Error("a loop of symlinks has an end")
	}
}
