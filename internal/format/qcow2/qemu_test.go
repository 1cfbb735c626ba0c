package qcow2_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// write makes an image in a file and returns its path.
func write(t testing.TB, disk image.Disk, opts qcow2.Options) (string, qcow2.Info) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := qcow2.Write(t.Context(), f, disk, opts)
	if err != nil {
		t.Fatal(err)
	}
	return path, info
}

var compressions = []qcow2.Compression{qcow2.Zstd, qcow2.Zlib, qcow2.None}

func TestQemuAgrees(t *testing.T) {
	for name, disk := range testkit.Disks() {
		for _, compression := range compressions {
			t.Run(string(compression)+"/"+name, func(t *testing.T) {
				t.Parallel()
				path, info := write(t, disk, qcow2.Options{Compression: compression})
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if sum := fmt.Sprintf("%x", sha256.Sum256(data)); info.SizeBytes != int64(len(data)) || info.SHA256 != sum {
					t.Errorf("info %+v for %d bytes of digest %s", info, len(data), sum)
				}
				testkit.QemuImg(t, "check", "-f", "qcow2", path)
				testkit.QemuImg(t, "compare", "-f", "raw", "-F", "qcow2", testkit.RawFile(t, disk), path)
				r, err := qcow2.Open(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					t.Fatal(err)
				}
				testkit.Same(t, disk, r)
				if err := r.Verify(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestQemuAgreesOnEveryClusterSize(t *testing.T) {
	disk := testkit.Fragments(9, 90<<20)
	source := testkit.RawFile(t, disk)
	for bits := uint32(12); bits <= 21; bits++ {
		for _, compression := range compressions {
			if bits%4 != 0 && compression != qcow2.Zstd {
				continue // each takes two processes
			}
			path, _ := write(t, disk, qcow2.Options{Compression: compression, ClusterBits: bits})
			testkit.QemuImg(t, "check", "-f", "qcow2", path)
			testkit.QemuImg(t, "compare", "-f", "raw", "-F", "qcow2", source, path)
		}
	}
}

func TestReadQemuImages(t *testing.T) {
	for _, size := range []int64{512, 65536 + 512, 70<<20 + 1024} {
		disk := testkit.Fragments(uint64(size), size)
		source := testkit.RawFile(t, disk)
		for _, options := range []string{"compat=0.10", "compat=1.1", "compression_type=zstd", "cluster_size=512", "cluster_size=2M", "refcount_bits=1"} {
			for _, flag := range []string{"-p", "-c"} {
				path := filepath.Join(t.TempDir(), "qemu.qcow2")
				testkit.QemuImg(t, "convert", flag, "-O", "qcow2", "-o", options, source, path)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				r, err := qcow2.Open(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					t.Fatal(options, err)
				}
				testkit.Same(t, disk, r)
			}
		}
	}
}

func TestBytesDoNotDependOnWorkers(t *testing.T) {
	disk := testkit.Fragments(5, 100<<20)
	for _, compression := range compressions {
		_, want := write(t, disk, qcow2.Options{Compression: compression, Workers: 1})
		for _, workers := range []int{2, 3, 16} {
			if _, got := write(t, disk, qcow2.Options{Compression: compression, Workers: workers}); got != want {
				t.Errorf("%s: %d workers gave %+v, one gave %+v", compression, workers, got, want)
			}
		}
	}
}
