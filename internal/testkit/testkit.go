// Package testkit is what the tests of several packages need alike: oracles
// that are other people's programs, disks and trees that live in memory. It is
// not shipped: only tests import it, and the linter's rule says so.
//
//	sfdisk := testkit.Tool(t, "sfdisk")
//	disk := testkit.Fragments(1, 64<<20)
//	testkit.Same(t, disk, read)
//
// It refuses nothing by itself. A tool that is missing skips the test, unless
// REQUIRE_TOOLS=1 says that all of them must be there: then the test fails.
// How much is tried, IMAGEBUILD_E2E says: what answers within two minutes
// (unset), what guards every change ("1"), or all there is ("soak").
package testkit

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The values of IMAGEBUILD_E2E.
const (
	whole = "1"
	soak  = "soak"
)

// Whole skips a test that takes more than seconds, unless IMAGEBUILD_E2E is
// set. It says why. The test has its Turn until it ends.
func Whole(t testing.TB, why string) {
	t.Helper()
	NotQuick(t, why)
	t.Cleanup(Turn(t))
}

// NotQuick skips a test as Whole does, and leaves it to the test when to take
// its Turn.
func NotQuick(t testing.TB, why string) {
	t.Helper()
	if Depth(true, false, false) {
		t.Skip(why + ": set IMAGEBUILD_E2E=1, or run make test")
	}
}

// Turn waits until fewer long tests run than there are processors, over all
// processes of this user, and counts as one until done is called. More of
// them at once end no sooner, and what each waits for with a limit, such as the
// boot of an emulated machine, takes the longer. Who has a turn must not wait
// for another.
func Turn(t testing.TB) (done func()) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "imagebuild-test", "turns")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for tick := time.Tick(200 * time.Millisecond); ; {
		for i := range runtime.NumCPU() {
			f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(i)), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				return func() { _ = f.Close() } // which unlocks
			}
			_ = f.Close()
		}
		select {
		case <-tick:
		case <-t.Context().Done():
			t.Fatalf("other tests have all turns in %s", dir)
		}
	}
}

// Soak skips a test that repeats at length what others have touched, unless
// IMAGEBUILD_E2E=soak. It says why.
func Soak(t testing.TB, why string) {
	t.Helper()
	if Depth(false, false, true) {
		return
	}
	t.Skip(why + ": set IMAGEBUILD_E2E=soak, or run make soak")
}

// Depth picks one of three values by IMAGEBUILD_E2E: for go test alone, for
// make test, and for make soak.
func Depth[T any](quick, guard, all T) T {
	switch value := os.Getenv("IMAGEBUILD_E2E"); value {
	case "":
		return quick
	case whole:
		return guard
	case soak:
		return all
	default:
		panic("IMAGEBUILD_E2E=" + value + ": it may be 1 or soak")
	}
}

// scratchBytes is how much room there has to be in memory for Scratch to take it:
// several times of what the longest tests keep there.
const scratchBytes = 16 << 30

// Scratch makes a folder for trees that are made and removed over and over: in
// memory, if there is plenty. An ext4 without a journal, as machines for CI have,
// looks for each new inode among those that were deleted in the last minutes
// (recently_deleted in the kernel's fs/ext4/ialloc.c): a tree of 23,000 files
// took 18 to 30 s to unpack there, and 4 s in memory.
func Scratch(t testing.TB) string {
	t.Helper()
	const memory = "/dev/shm"
	parent := "" // the usual one
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err == nil && int64(fs.Bavail)*fs.Bsize >= scratchBytes { //nolint:gosec // far below the largest number
		parent = memory
	}
	dir, err := os.MkdirTemp(parent, "imagebuild-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Tool returns the path of a program, which may also lie in the folders of the
// system's administration; without it the test ends as with Missing.
func Tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/sbin", "/usr/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	Missing(t, "%s is not installed", name)
	return ""
}

// Missing ends a test that cannot run here: skipped, or failed where
// REQUIRE_TOOLS=1.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("REQUIRE_TOOLS") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Busybox returns the host's static busybox, which is a whole guest in one
// file.
func Busybox(t testing.TB) []byte {
	t.Helper()
	content, err := os.ReadFile("/bin/busybox")
	if err != nil {
		Missing(t, "install busybox-static: %v", err)
	}
	return content
}
