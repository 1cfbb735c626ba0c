package tree

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/image"
)

// The benchmarks work on the root filesystem in the tar archive that
// IMAGEBUILD_BENCH_TREE names.
func benchTree(b *testing.B) image.Tree {
	b.Helper()
	name := os.Getenv("IMAGEBUILD_BENCH_TREE")
	if name == "" {
		b.Skip("IMAGEBUILD_BENCH_TREE names no archive")
	}
	t, err := Tar(name)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

func benchDir(b *testing.B) string {
	b.Helper()
	root := filepath.Join(b.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		b.Fatal(err)
	}
	if _, err := Extract(b.Context(), benchTree(b), root); err != nil {
		b.Fatal(err)
	}
	return root
}

func BenchmarkIndex(b *testing.B) {
	for b.Loop() {
		benchTree(b)
	}
}

func BenchmarkWriteTarFromTar(b *testing.B) { benchWrite(b, benchTree(b)) }

func BenchmarkWriteTarFromDir(b *testing.B) { benchWrite(b, Dir(benchDir(b))) }

func benchWrite(b *testing.B, t image.Tree) {
	for b.Loop() {
		d, err := WriteTar(b.Context(), io.Discard, t, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(d.Bytes))
	}
}

func BenchmarkScan(b *testing.B) {
	root := benchDir(b)
	for b.Loop() {
		if err := Dir(root).Walk(b.Context(), func(*image.Entry, io.Reader) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExtract(b *testing.B) {
	t := benchTree(b)
	for b.Loop() {
		root := b.TempDir()
		if _, err := Extract(b.Context(), t, root); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.RemoveAll(root); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
