package ext4_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/format/ext4"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/tree"
)

// variants are the forms of the file system, as mke2fs's arguments.
var variants = map[string][]string{
	"ext4":                 {"-t", "ext4"},
	"ext4, 1 KiB blocks":   {"-t", "ext4", "-b", "1024"},
	"ext4, small inodes":   {"-t", "ext4", "-I", "128", "-O", "^metadata_csum"},
	"ext4, large inodes":   {"-t", "ext4", "-I", "1024", "-b", "4096"},
	"ext4, as this makes":  {"-t", "ext4", "-O", "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum", "-b", "4096", "-I", "256"},
	"ext4, as of 2010":     {"-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg,^orphan_file"},
	"ext4, gdt_csum 64bit": {"-t", "ext4", "-O", "^metadata_csum,64bit,uninit_bg"},
	"ext4, inline data":    {"-t", "ext4", "-O", "inline_data"},
	"ext4, ea_inode":       {"-t", "ext4", "-O", "ea_inode"},
	"ext4, meta_bg":        {"-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024"},
	"ext4, seed":           {"-t", "ext4", "-O", "metadata_csum_seed"},
	"ext4, bigalloc":       {"-t", "ext4", "-O", "bigalloc", "-C", "16384"},
	"ext4, sparse_super2":  {"-t", "ext4", "-O", "sparse_super2,meta_bg,^resize_inode", "-b", "1024"},
	"ext4, no journal":     {"-t", "ext4", "-O", "^has_journal"},
	"ext3":                 {"-t", "ext3", "-b", "1024"},
	"ext2":                 {"-t", "ext2", "-b", "1024"},
	"ext2, no file types":  {"-t", "ext2", "-O", "^filetype", "-b", "4096"},
	"ext2, revision 0":     {"-t", "ext2", "-r", "0", "-O", "none", "-b", "1024"},
}

const diskBytes = 96 << 20

// format makes an empty file system.
func format(t testing.TB, args []string, more ...string) string {
	t.Helper()
	return formatSize(t, diskBytes, args, more...)
}

func formatSize(t testing.TB, sizeBytes int64, args []string, more ...string) string {
	t.Helper()
	mke2fs := testkit.Tool(t, "mke2fs")
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(sizeBytes), f.Close()); err != nil {
		t.Fatal(err)
	}
	argv := slices.Concat([]string{mke2fs, "-q", "-F", "-E", "root_owner=0:0"}, args, more, []string{path})
	if out, err := run.Output(t.Context(), run.Spec{Argv: argv}); err != nil {
		t.Fatal(err, out)
	}
	return path
}

func open(t testing.TB, path string) *ext4.FS {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := ext4.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// list is everything that a tree says, an entry a line.
func list(t testing.TB, from image.Tree) []string {
	t.Helper()
	var lines []string
	err := from.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
		hash := sha256.New()
		if content != nil {
			if n, err := io.Copy(hash, content); err != nil || n != e.SizeBytes {
				return fmt.Errorf("%s: %d bytes of %d, %w", e.Path, n, e.SizeBytes, err)
			}
		}
		lines = append(lines, fmt.Sprintf("%s %s %o %d:%d %d %s %q %d:%d %q %.8x",
			e.Path, e.Type, e.Mode, e.UID, e.GID, e.SizeBytes, e.ModTime.Format(time.RFC3339Nano), e.Link, e.Major, e.Minor, e.Xattrs, hash.Sum(nil)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestAgainstTheKernel lets the kernel make files of all kinds, and compares
// what it shows with what is read from its disk.
func TestAgainstTheKernel(t *testing.T) {
	testkit.Whole(t, "mounts file systems of 18 kinds")
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	for name, args := range variants {
		t.Run(name, func(t *testing.T) {
			path, dir := format(t, args), t.TempDir()
			mount(t, path, dir)
			populate(t, dir)
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
			mount(t, path, dir) // anew: as it is on the disk, not in memory
			want := list(t, tree.Dir(dir))
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
			got := list(t, open(t, path))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if len(got) < 627 {
				t.Errorf("only %d entries", len(got))
			}
		})
	}
}

func mount(t *testing.T, disk, dir string) {
	t.Helper()
	if err := run.Run(t.Context(), run.Spec{Argv: []string{"mount", "-o", "loop,user_xattr,acl", disk, dir}}); err != nil {
		t.Skip("this kernel cannot mount it:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
}

// populate makes entries of every kind below dir, an empty file system.
func populate(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) { t.Helper(); must(os.WriteFile(in(name), content, 0o640)) }
	// Some features exclude others: what the kernel refuses is not there for
	// either side.
	set := func(name, attr string, value []byte) bool { return unix.Lsetxattr(in(name), attr, value, 0) == nil }

	for _, d := range []string{"a", "a/b", "a/b/c", "empty", "many", "z"} {
		must(os.Mkdir(in(d), 0o755))
	}
	write("a-b", []byte("between a and a/b"))
	write("a.b", nil)
	write("a0", []byte("behind a/"))
	write("tiny", []byte("x"))
	write("sixty", bytes.Repeat([]byte("y"), 60))
	write("ninety", bytes.Repeat([]byte("z"), 90))
	write("large", testkit.Noise(1, 3<<20+123))
	write(strings.Repeat("n", 255), []byte("the longest name"))
	write("naïve ☃\n", []byte("names are bytes"))
	for n := range 600 {
		write(fmt.Sprintf("many/a file with a longer name, %04d", n), []byte{byte(n)})
	}
	must(os.Link(in("tiny"), in("a/b/tiny again")))
	must(os.Link(in("tiny"), in("a/b/c/tiny a third time")))
	must(os.Symlink("tiny", in("z/short")))
	must(os.Symlink(strings.Repeat("s", 59), in("z/59")))
	must(os.Symlink(strings.Repeat("s", 60), in("z/60")))
	must(os.Symlink(strings.Repeat("long/", 150), in("z/long")))
	must(unix.Mknod(in("z/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(in("z/disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	must(unix.Mknod(in("z/pipe"), unix.S_IFIFO|0o600, 0))
	must(unix.Mknod(in("z/socket"), unix.S_IFSOCK|0o600, 0))

	sparse, err := os.Create(in("sparse"))
	must(err)
	for n := range int64(700) { // more extents than fit into a block of 1 KiB, on several levels of a map
		_, err := sparse.WriteAt([]byte("data"), n*120<<10)
		must(err)
	}
	_ = unix.Fallocate(int(sparse.Fd()), 0, 90<<20, 1<<20) // reserved and never written
	must(errors.Join(sparse.Truncate(100<<20), sparse.Close()))

	must(os.Chown(in("a0"), 70000, 1<<31))
	must(os.Chmod(in("a0"), os.ModeSetuid|os.ModeSetgid|0o755))
	must(os.Chmod(in("empty"), os.ModeSticky|0o777))
	set("tiny", "user.comment", []byte("in the inode"))
	set("tiny", "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	set("large", "trusted.block", testkit.Noise(2, 700))
	set("ninety", "user.and", []byte("more"))
	set("a", "user.inode", testkit.Noise(3, 20_000))
	acl := []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x06\x00\x70\x11\x01\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff")
	set("a/b", "system.posix_acl_access", acl)
	set("a/b", "system.posix_acl_default", acl)
	for name, at := range map[string]time.Time{
		"a.b": time.Unix(1<<31+5, 123456789), "a-b": time.Unix(-86400, 0), "ninety": time.Unix(1<<33, 1), "empty": time.Unix(1700000000, 999999999),
	} {
		must(os.Chtimes(in(name), at, at))
	}
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"etc/fstab": "the table", "etc/sub/deep": "deep"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	opened := open(t, format(t, variants["ext4"], "-d", dir, "-L", "root", "-U", "01234567-89ab-cdef-0123-456789abcdef"))
	if opened.Label() != "root" || opened.UUID() != "01234567-89ab-cdef-0123-456789abcdef" {
		t.Error(opened.Label(), opened.UUID())
	}
	if got, err := opened.ReadFile("etc/sub/deep", 4); err != nil || string(got) != "deep" {
		t.Error(string(got), err)
	}
	if _, err := opened.ReadFile("etc/sub/deep", 3); err == nil {
		t.Error("more than the limit was read")
	}
	if _, err := opened.ReadFile("etc", 100); err == nil {
		t.Error("a directory was read")
	}
	for _, name := range []string{"etc/none", "none/x", "etc/fstab/x", "", "etc/", "/etc"} {
		if _, err := opened.Lookup(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, want := range map[string]image.EntryType{".": image.Directory, "etc/fstab": image.File, "lost+found": image.Directory} {
		if e, err := opened.Lookup(name); err != nil || e.Type != want || e.Path != name {
			t.Errorf("%q: %+v, %v", name, e, err)
		}
	}
}

// sourceDir is a directory that mke2fs can copy without root.
func sourceDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	at := time.Unix(1_700_000_000, 0)
	err := errors.Join(os.MkdirAll(in("a/b/c"), 0o755), os.Mkdir(in("a!"), 0o700), os.Mkdir(in("many"), 0o755))
	for name, content := range map[string][]byte{
		"a-b": []byte("between"), "a/b/file": []byte("file"), "a0": nil, "large": testkit.Noise(1, 700_123), "sixty": bytes.Repeat([]byte("y"), 60), "ninety": bytes.Repeat([]byte("z"), 90),
	} {
		err = errors.Join(err, os.WriteFile(in(name), content, 0o640))
	}
	for n := range 200 {
		err = errors.Join(err, os.WriteFile(in(fmt.Sprintf("many/a file with a longer name, %04d", n)), []byte{byte(n)}, 0o600))
	}
	err = errors.Join(err, os.Link(in("a-b"), in("a/b/c/again")), os.Symlink("a0", in("short")), os.Symlink(strings.Repeat("long/", 40), in("long")),
		unix.Mkfifo(in("pipe"), 0o600), sparse(in("sparse")))
	_ = filepath.WalkDir(dir, func(name string, _ fs.DirEntry, _ error) error {
		ts, _ := unix.TimeToTimespec(at)
		err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// sparse makes a file with data, a hole, and data.
func sparse(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, first := f.WriteAt(testkit.Noise(2, 5000), 0)
	_, second := f.WriteAt([]byte("last"), 700_000)
	return errors.Join(first, second, f.Chmod(0o600), f.Close())
}

// withoutRoot drops the entries that mke2fs makes itself.
func withoutRoot(lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, ". ") || strings.HasPrefix(line, "lost+found ") })
}

// TestAgainstMke2fs compares a directory with the file systems that mke2fs
// makes of it.
func TestAgainstMke2fs(t *testing.T) {
	dir := sourceDir(t)
	want := withoutRoot(list(t, tree.Dir(dir)))
	for name, args := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opened := open(t, format(t, args, "-d", dir))
			if diff := cmp.Diff(want, withoutRoot(list(t, opened))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
