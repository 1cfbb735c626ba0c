package extract_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/tree"
)

// benchDisk is a file system with 8,000 files in 400 directories, 260 MiB, as
// a system has them: many small ones and some large ones.
func benchDisk(b *testing.B) string {
	dir := b.TempDir()
	var err error
	for _, top := range []string{"etc", "usr"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, top), 0o755))
	}
	for d := range 400 {
		sub := filepath.Join(dir, "usr", fmt.Sprintf("dir%03d", d))
		err = errors.Join(err, os.Mkdir(sub, 0o755))
		for n := range 20 {
			size := 2 << 10 << (n % 5)
			if n == 19 {
				size = 500 << 10
			}
			err = errors.Join(err, os.WriteFile(filepath.Join(sub, fmt.Sprintf("file%02d", n)), testkit.Prose(uint64(d*20+n), size), 0o644))
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "disk")
	if out, err := run.Output(b.Context(), run.Spec{Argv: []string{testkit.Tool(b, "mke2fs"), "-q", "-t", "ext4", "-d", dir, path, "512M"}}); err != nil {
		b.Fatal(err, out)
	}
	return path
}

// BenchmarkExtractVsDebugfs writes the tree of a disk into a directory, with
// owners, modes, times and attributes, and lets debugfs do the same, one after
// the other; it reports how many times as fast ours is. With TMPDIR on a tmpfs
// it is the two that are compared, and not the disk below them.
func BenchmarkExtractVsDebugfs(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("owners need root")
	}
	debugfs, path := testkit.Tool(b, "debugfs"), benchDisk(b)
	disk, err := raw.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	var ours, theirs time.Duration
	for b.Loop() {
		dir := b.TempDir()
		start := time.Now()
		root, err := extract.Root(b.Context(), disk)
		if err != nil {
			b.Fatal(err)
		}
		if done, err := tree.Extract(b.Context(), root, dir); err != nil || done.Entries < 8000 {
			b.Fatal(done, err)
		}
		ours += time.Since(start)
		other := b.TempDir()
		start = time.Now()
		if out, err := run.Output(b.Context(), run.Spec{Argv: []string{debugfs, "-R", "rdump / " + other, path}}); err != nil {
			b.Fatal(err, out)
		}
		theirs += time.Since(start)
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(other)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(theirs)/float64(ours), "times-debugfs")
	b.ReportMetric(ours.Seconds()/float64(b.N), "s-ours")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "s-debugfs")
}
