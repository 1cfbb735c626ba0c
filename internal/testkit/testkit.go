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
package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

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
