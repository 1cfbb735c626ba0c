package ext4_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/ext4"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

const smallBytes = 256 << 10

// small is a file system of smallBytes with a bit of everything.
func small(t testing.TB, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	err := errors.Join(os.MkdirAll(dir+"/a/b", 0o755), os.WriteFile(dir+"/a/file", testkit.Noise(1, 3000), 0o600), os.WriteFile(dir+"/tiny", []byte("tiny"), 0o600),
		os.Symlink("tiny", dir+"/short"), os.Symlink(strings.Repeat("long/", 40), dir+"/long"), os.Link(dir+"/tiny", dir+"/a/b/tiny"))
	if err != nil {
		t.Fatal(err)
	}
	return formatSize(t, smallBytes, append([]string{"-b", "1024", "-N", "32"}, args...), "-d", dir)
}

// walkAll reads a file system to its end, file content too.
func walkAll(t testing.TB, data []byte) error {
	t.Helper()
	opened, err := ext4.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	return opened.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
		if content == nil || e.SizeBytes > 1<<20 {
			return nil
		}
		n, err := io.Copy(io.Discard, content)
		if err == nil && n != e.SizeBytes {
			t.Errorf("%s: %d bytes of %d", e.Path, n, e.SizeBytes)
		}
		return err
	})
}

func TestRefused(t *testing.T) {
	le := binary.LittleEndian
	at := func(offset int, value uint32) func([]byte) {
		return func(b []byte) { le.PutUint32(b[1024+offset:], value) }
	}
	or := func(offset int, value uint32) func([]byte) {
		return func(b []byte) { le.PutUint32(b[1024+offset:], le.Uint32(b[1024+offset:])|value) }
	}
	data, err := os.ReadFile(small(t, "-t", "ext4", "-O", "^metadata_csum,^has_journal"))
	if err != nil {
		t.Fatal(err)
	}
	if err := walkAll(t, data); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func([]byte)
		want   string
	}{
		"no file system":       {at(0x38, 0), "magic is missing"},
		"needs recovery":       {or(0x60, 0x4), "journal has not been replayed"},
		"a journal":            {or(0x60, 0x8), "the journal of another"},
		"compression":          {or(0x60, 0x1), "not known here (incompat 0x1)"},
		"a feature to come":    {or(0x60, 1<<30), "not known here"},
		"errors":               {or(0x38, 2<<16), "errors have been recorded"},
		"not unmounted":        {at(0x38, 0xef53), "was not unmounted"},
		"orphans":              {at(0xe8, 12), "being removed"},
		"a later revision":     {at(0x4c, 2), "revision 2"},
		"huge blocks":          {at(0x18, 7), "blocks of 131072 bytes"},
		"absurd blocks":        {at(0x18, 1<<31), "blocks of"},
		"cut off":              {at(0x04, 1<<20), "cut off"},
		"no groups":            {at(0x20, 0), "groups of 0 blocks"},
		"many inodes":          {at(0x00, 1<<30), "inodes in"},
		"tiny inodes":          {at(0x58, 3), "inodes of 3 bytes"},
		"odd descriptors":      {func(b []byte) { or(0x60, 0x80)(b); le.PutUint16(b[1024+0xfe:], 63) }, "descriptors of 63 bytes"},
		"beyond its end":       {at(0x14, 1<<30), "its first block"},
		"an unknown algorithm": {func(b []byte) { or(0x64, 0x400)(b); b[1024+0x175] = 9 }, "type 9"},
		"a wrong checksum":     {func(b []byte) { or(0x64, 0x400)(b); b[1024+0x175] = 1 }, "its checksum is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := bytes.Clone(data)
			c.change(changed)
			err := walkAll(t, changed)
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
				t.Errorf("%v of kind %v, want %q", err, fault.KindOf(err), c.want)
			}
		})
	}
	for _, n := range []int{0, 1024, 2047} {
		if err := walkAll(t, data[:n]); err == nil || fault.KindOf(err) != fault.Input {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestLoops makes directories that lead to each other.
func TestLoops(t *testing.T) {
	for name, commands := range map[string][]string{
		"to the root":        {"ln / a/loop"},
		"to a parent":        {"ln a a/b/loop"},
		"to itself":          {"ln a a/self"},
		"two names, sibling": {"ln a a2"},
		"two names, deeper":  {"ln a/b b2"},
		"to nothing":         {"ln <30> nothing"},
		"to the journal":     {"ln <8> journal"},
		"a dead file":        {"set_inode_field tiny links_count 0"},
	} {
		t.Run(name, func(t *testing.T) {
			path := small(t, "-t", "ext4", "-O", "^has_journal")
			debugfs(t, path, commands...)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := walkAll(t, data); err == nil || fault.KindOf(err) != fault.Input {
				t.Errorf("%v of kind %v", err, fault.KindOf(err))
			}
		})
	}
}

func debugfs(t *testing.T, path string, commands ...string) {
	t.Helper()
	tool := testkit.Tool(t, "debugfs")
	for _, command := range commands {
		if out, err := run.Output(t.Context(), run.Spec{Argv: []string{tool, "-w", "-R", command, path}}); err != nil {
			t.Fatal(err, out)
		}
	}
}

// TestFields sets what a test without root cannot otherwise have.
func TestFields(t *testing.T) {
	path := small(t, "-t", "ext4", "-O", "^has_journal", "-I", "256")
	debugfs(t, path,
		"set_inode_field tiny uid 70000", "set_inode_field tiny gid 4294967295", "set_inode_field tiny mode 0104755",
		"set_inode_field tiny mtime @4294967295", "set_inode_field tiny mtime_extra 0x1dcd6501",
		"mknod null c 1 3", "mknod disk b 8 17", "set_inode_field disk block[0] 0", "set_inode_field disk block[1] 0x11110370", "ea_set tiny user.note remark")
	want := map[string]image.Entry{
		"tiny": {
			Path: "tiny", Type: image.File, Mode: 0o4755, UID: 70000, GID: 1<<32 - 1, SizeBytes: 4,
			ModTime: time.Unix(1<<32-1, 125000000).UTC(), Xattrs: map[string]string{"user.note": "remark"},
		},
		"null": {Path: "null", Type: image.CharDevice, Major: 1, Minor: 3},
		"disk": {Path: "disk", Type: image.BlockDevice, Major: 259, Minor: 70000},
	}
	opened := open(t, path)
	for name, want := range want {
		got, err := opened.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if want.Type != image.File {
			got.ModTime, got.Mode = time.Time{}, 0
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestDamage changes bytes here and there: what comes out is either what was
// there, or an error of kind Input.
func TestDamage(t *testing.T) {
	path := small(t, "-t", "ext4", "-O", "metadata_csum,^has_journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := bytes.TrimRight(data, "\x00")
	want := strings.Join(list(t, open(t, path)), "\n")
	random, refused := rand.New(rand.NewPCG(1, 2)), 0
	for range 1500 {
		offset := 1024 + random.IntN(len(used)-1024)
		was := data[offset]
		data[offset] ^= byte(1 + random.IntN(255))
		if err := walkAll(t, data); err != nil {
			if refused++; fault.KindOf(err) != fault.Input {
				t.Errorf("byte %d: %v of kind %v", offset, err, fault.KindOf(err))
			}
		} else if opened, err := ext4.Open(bytes.NewReader(data), int64(len(data))); err != nil {
			t.Error(err)
		} else if got := strings.Join(list(t, opened), "\n"); metadata(got) != metadata(want) {
			t.Errorf("byte %d: damage that nobody noticed: %s", offset, cmp.Diff(want, got))
		}
		data[offset] = was
	}
	if refused < 100 {
		t.Errorf("only %d changes were noticed; did they hit anything?", refused)
	}
}

// metadata drops the digests of file content and of symlinks that have blocks:
// neither has a checksum.
func metadata(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		if strings.HasPrefix(line, "long ") {
			continue
		}
		b.WriteString(line[:strings.LastIndexByte(line, ' ')] + "\n")
	}
	return b.String()
}

func TestFailingReads(t *testing.T) {
	data, err := os.ReadFile(small(t, "-t", "ext4", "-O", "^has_journal"))
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		r := &failing{Reader: bytes.NewReader(data), fail: n}
		opened, err := ext4.Open(r, int64(len(data)))
		if err == nil {
			err = opened.Walk(t.Context(), func(_ *image.Entry, content io.Reader) error {
				if content == nil {
					return nil
				}
				_, err := io.Copy(io.Discard, content)
				return err
			})
		}
		if r.calls < n {
			if err != nil || n < 8 {
				t.Fatal(n, err)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("read %d failed, the result is %v", n, err)
		}
	}
}

var errDisk = errors.New("the disk is broken")

type failing struct {
	*bytes.Reader
	calls, fail int
}

func (f *failing) ReadAt(p []byte, offset int64) (int, error) {
	if f.calls++; f.calls == f.fail {
		return 0, errDisk
	}
	return f.Reader.ReadAt(p, offset)
}

func FuzzWalk(f *testing.F) {
	for _, args := range [][]string{
		{"-t", "ext2"}, {"-t", "ext4", "-O", "^metadata_csum,^has_journal,inline_data", "-I", "256"}, {"-t", "ext4", "-O", "^metadata_csum,^has_journal"},
	} {
		data, err := os.ReadFile(small(f, args...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := walkAll(t, data); err != nil && fault.KindOf(err) != fault.Input {
			t.Errorf("%v of kind %v", err, fault.KindOf(err))
		}
		if opened, err := ext4.Open(bytes.NewReader(data), int64(len(data))); err == nil {
			_, _ = opened.ReadFile("a/file", 10_000)
			_ = fmt.Sprint(opened.UUID(), opened.Label())
		}
	})
}
