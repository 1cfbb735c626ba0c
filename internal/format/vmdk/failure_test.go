package vmdk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/testkit"
)

var errFull = errors.New("the disk is full")

// failingWriter fails at the nth call, counted from one.
type failingWriter struct{ calls, fail int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.calls++; w.calls == w.fail {
		return 0, errFull
	}
	return len(p), nil
}

// failingDisk fails at the nth read or extent, counted from one.
type failingDisk struct {
	*testkit.Disk
	calls chan int // holds the calls left
}

func (d *failingDisk) left() error {
	n := <-d.calls
	d.calls <- n - 1
	if n == 1 {
		return errFull
	}
	return nil
}

func (d *failingDisk) ReadAt(p []byte, offset int64) (int, error) {
	if err := d.left(); err != nil {
		return 0, err
	}
	return d.Disk.ReadAt(p, offset)
}

func (d *failingDisk) NextExtent(offset int64) (start, end int64, err error) {
	if err := d.left(); err != nil {
		return 0, 0, err
	}
	return d.Disk.NextExtent(offset)
}

// TestFailureAtEveryCall also proves, by its bubble, that no goroutine is left.
func TestFailureAtEveryCall(t *testing.T) {
	disk := testkit.Fragments(3, 70<<20)
	for _, format := range formats {
		t.Run(format.name+"/writer", func(t *testing.T) {
			for n := 1; ; n++ {
				w := &failingWriter{fail: n}
				var err error
				synctest.Test(t, func(t *testing.T) { _, err = format.write(t.Context(), w, disk, 3) })
				if w.calls < n {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if !errors.Is(err, errFull) {
					t.Fatalf("write %d failed, the result is %v", n, err)
				}
			}
		})
		t.Run(format.name+"/disk", func(t *testing.T) {
			for n := 1; ; n++ {
				d := &failingDisk{disk, make(chan int, 1)}
				d.calls <- n
				var err error
				synctest.Test(t, func(t *testing.T) { _, err = format.write(t.Context(), io.Discard, d, 3) })
				if left := <-d.calls; left > 0 {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if !errors.Is(err, errFull) {
					t.Fatalf("call %d failed, the result is %v", n, err)
				}
			}
		})
		t.Run(format.name+"/cancelled", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				w := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
				if _, err := format.write(ctx, w, disk, 3); !errors.Is(err, context.Canceled) {
					t.Errorf("cancelled at the first write, the result is %v", err)
				}
			})
		})
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRefusedOptions(t *testing.T) {
	good := testkit.NewDisk(1 << 20)
	for name, opts := range map[string]vmdk.StreamOptions{
		"quote in the name": {FileName: `a"b.vmdk`},
		"path in the name":  {FileName: "../b.vmdk"},
		"line in the name":  {FileName: "a\nRW 1 FLAT"},
		"long name":         {FileName: string(bytes.Repeat([]byte("a"), 11000))},
		"adapter":           {Adapter: "nvme"},
		"level":             {Level: 10},
		"hardware version":  {HWVersion: `10"`},
	} {
		if _, err := vmdk.WriteStream(t.Context(), io.Discard, good, opts); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, size := range []int64{0, -512, 511, 2<<40 + 512} {
		for _, format := range formats {
			if _, err := format.write(t.Context(), io.Discard, testkit.NewDisk(size), 1); err == nil {
				t.Errorf("%s: a disk of %d bytes was accepted", format.name, size)
			}
		}
	}
}

// endless is a disk of 40 GiB with 4 MiB of data in each GiB, made as it is
// read.
type endless struct{ data []byte }

func (endless) Size() int64 { return 40 << 30 }

func (d endless) ReadAt(p []byte, offset int64) (int, error) {
	clear(p)
	if within := offset % (1 << 30); within < 4<<20 {
		copy(p, d.data[within%(1<<20):])
	}
	return len(p), nil
}

func (d endless) NextExtent(offset int64) (start, end int64, err error) {
	start = offset
	if offset%(1<<30) >= 4<<20 {
		start = (offset/(1<<30) + 1) << 30
	}
	if start >= d.Size() {
		return 0, 0, io.EOF
	}
	return start, start/(1<<30)<<30 + 4<<20, nil
}

// TestMemoryIsBounded looks at the live heap while 160 MiB of data, spread
// over 40 GiB, go by.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 160 MiB twice")
	}
	disk := endless{data: testkit.Prose(1, 2<<20)}
	for _, format := range formats {
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		most, written := uint64(0), 0
		w := writerFunc(func(p []byte) (int, error) {
			if written += len(p); written > 8<<20 {
				written = 0
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
			return len(p), nil
		})
		if _, err := format.write(t.Context(), w, disk, 4); err != nil {
			t.Fatal(err)
		}
		live := int64(most) - int64(before.HeapAlloc)
		t.Logf("%s: at most %d KiB live", format.name, live>>10)
		if live > 64<<20 {
			t.Errorf("%s keeps %d MiB", format.name, live>>20)
		}
	}
}
