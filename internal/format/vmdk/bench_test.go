package vmdk_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/testkit"
)

// fileDisk is a sparse file as a disk.
type fileDisk struct {
	*os.File
	size int64
}

func openDisk(b *testing.B, path string) fileDisk {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return fileDisk{f, info.Size()}
}

func (d fileDisk) Size() int64 { return d.size }

func (d fileDisk) NextExtent(offset int64) (start, end int64, err error) {
	if start, err = d.Seek(offset, unix.SEEK_DATA); err != nil {
		return 0, 0, io.EOF // nothing but a hole
	}
	end, err = d.Seek(start, unix.SEEK_HOLE)
	return start, end, err
}

// benchDisk is the raw disk that IMAGEBUILD_BENCH_DISK names, as bench/vmdk
// does, or 256 MiB that compress like a file system.
func benchDisk(b *testing.B) string {
	if path := os.Getenv("IMAGEBUILD_BENCH_DISK"); path != "" {
		return path
	}
	disk := testkit.NewDisk(1 << 30)
	for i := range int64(128) {
		disk.Put(i*8<<20, testkit.Prose(uint64(i), 2<<20))
	}
	return testkit.RawFile(b, disk)
}

// BenchmarkStreamVsQemuImg runs both writers on the same disk, one after the
// other, and reports how many times as fast ours is, and how large.
func BenchmarkStreamVsQemuImg(b *testing.B) {
	testkit.Tool(b, "qemu-img")
	path := benchDisk(b)
	disk := openDisk(b, path)
	theirs, ours := filepath.Join(b.TempDir(), "theirs.vmdk"), filepath.Join(b.TempDir(), "ours.vmdk")
	var their, our, theirCPU, ourCPU time.Duration
	for b.Loop() {
		start := time.Now()
		testkit.QemuImg(b, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", path, theirs)
		their += time.Since(start)
		theirCPU = cpu(b, unix.RUSAGE_CHILDREN)
		before := cpu(b, unix.RUSAGE_SELF)
		start = time.Now()
		f, err := os.Create(ours)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := vmdk.WriteStream(b.Context(), f, disk, vmdk.StreamOptions{}); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		our += time.Since(start)
		ourCPU += cpu(b, unix.RUSAGE_SELF) - before
	}
	testkit.QemuImg(b, "compare", "-f", "raw", "-F", "vmdk", path, ours)
	their1, _ := os.Stat(theirs)
	our1, _ := os.Stat(ours)
	b.ReportMetric(their.Seconds()/float64(b.N), "qemu-s/op")
	b.ReportMetric(our.Seconds()/float64(b.N), "ours-s/op")
	b.ReportMetric(their.Seconds()/our.Seconds(), "times-as-fast")
	// What a busy machine does not change: seconds of processor time.
	b.ReportMetric(theirCPU.Seconds()/float64(b.N), "qemu-cpu-s/op")
	b.ReportMetric(ourCPU.Seconds()/float64(b.N), "ours-cpu-s/op")
	b.ReportMetric(float64(our1.Size())/float64(their1.Size()), "size-ratio")
}

// cpu is the processor time used so far, by us or by our children.
func cpu(b *testing.B, who int) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(who, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkStreamLevel compares the compression levels, for DefaultLevel.
func BenchmarkStreamLevel(b *testing.B) {
	disk := openDisk(b, benchDisk(b))
	for level := 1; level <= 9; level++ {
		b.Run(string(rune('0'+level)), func(b *testing.B) {
			for b.Loop() {
				info, err := vmdk.WriteStream(b.Context(), io.Discard, disk, vmdk.StreamOptions{Level: level})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(info.PopulatedBytes)
				b.ReportMetric(float64(info.SizeBytes), "file-bytes")
			}
		})
	}
}
