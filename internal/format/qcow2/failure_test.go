package qcow2_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/testkit"
)

var errFull = errors.New("the disk is full")

// memoryFile is a file in memory that fails at the nth call, counted from one.
type memoryFile struct {
	data        []byte
	calls, fail int
	before      func()
}

func (f *memoryFile) call() error {
	if f.before != nil {
		f.before()
	}
	if f.calls++; f.calls == f.fail {
		return errFull
	}
	return nil
}

func (f *memoryFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.call(); err != nil {
		return 0, err
	}
	if grow := offset + int64(len(p)) - int64(len(f.data)); grow > 0 {
		f.data = append(f.data, make([]byte, grow)...)
	}
	return copy(f.data[offset:], p), nil
}

func (f *memoryFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.call(); err != nil {
		return 0, err
	}
	return bytes.NewReader(f.data).ReadAt(p, offset)
}

// TestFailureAtEveryCall also proves, by its bubble, that no goroutine is left.
func TestFailureAtEveryCall(t *testing.T) {
	disk := testkit.Fragments(3, 70<<20)
	for _, compression := range compressions {
		for n := 1; ; n++ {
			f := &memoryFile{fail: n}
			var err error
			synctest.Test(t, func(t *testing.T) {
				_, err = qcow2.Write(t.Context(), f, disk, qcow2.Options{Compression: compression, Workers: 3})
			})
			if f.calls < n {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if !errors.Is(err, errFull) {
				t.Fatalf("%s: call %d failed, the result is %v", compression, n, err)
			}
		}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := qcow2.Write(ctx, &memoryFile{before: cancel}, disk, qcow2.Options{Compression: compression}); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: cancelled at the first call, the result is %v", compression, err)
			}
		})
	}
}

func TestRefusedOptions(t *testing.T) {
	for name, opts := range map[string]qcow2.Options{
		"compression":    {Compression: "lzo"},
		"small clusters": {ClusterBits: 11},
		"large clusters": {ClusterBits: 22},
	} {
		if _, err := qcow2.Write(t.Context(), &memoryFile{}, testkit.NewDisk(1<<20), opts); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, size := range []int64{0, -512, 511, 1 << 62} {
		if _, err := qcow2.Write(t.Context(), &memoryFile{}, testkit.NewDisk(size), qcow2.Options{}); err == nil {
			t.Errorf("a disk of %d bytes was accepted", size)
		}
	}
}

func TestRefusedImages(t *testing.T) {
	f := &memoryFile{}
	if _, err := qcow2.Write(t.Context(), f, testkit.NewDisk(1<<20), qcow2.Options{}); err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(b []byte){
		"not a qcow2 image":   func(b []byte) { b[0]++ },
		"version 4":           func(b []byte) { b[7] = 4 },
		"backing file":        func(b []byte) { binary.BigEndian.PutUint64(b[8:], 200) },
		"encrypted":           func(b []byte) { b[35] = 2 },
		"in another file":     func(b []byte) { b[79] |= 4 },
		"extended L2":         func(b []byte) { b[79] |= 16 },
		"marked as corrupt":   func(b []byte) { b[79] |= 2 },
		"not closed":          func(b []byte) { b[79] |= 1 },
		"unknown incompat":    func(b []byte) { b[72] = 1 },
		"clusters of 2^63":    func(b []byte) { b[23] = 63 },
		"virtual size":        func(b []byte) { b[24] = 0xff },
		"L1 table of 1 entri": func(b []byte) { b[43], b[42], b[40] = 0, 0, 0x7f },
		"disk that needs":     func(b []byte) { b[27] = 1 },
		"compression type":    func(b []byte) { b[104] = 7 },
		"L1 entry":            func(b []byte) { b[binary.BigEndian.Uint64(b[40:])] = 1 },
	} {
		data := bytes.Clone(f.data)
		edit(data)
		_, err := qcow2.Open(bytes.NewReader(data), int64(len(data)))
		if err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Input {
			t.Errorf("want an input fault with %q, got %v", want, err)
		}
	}
	for n := range 200 {
		if _, err := qcow2.Open(bytes.NewReader(f.data[:n]), int64(n)); fault.KindOf(err) != fault.Input {
			t.Errorf("cut off after %d bytes: %v", n, err)
		}
	}
}

// FuzzOpen feeds foreign bytes to the reader: it may refuse them, as an Input
// fault, but never panic or read what is not there.
func FuzzOpen(f *testing.F) {
	disk := testkit.NewDisk(3 << 20)
	disk.Put(70<<10, testkit.Prose(1, 700))
	disk.Put(3<<20-512, testkit.Prose(2, 512))
	for _, compression := range compressions {
		file := &memoryFile{}
		if _, err := qcow2.Write(f.Context(), file, disk, qcow2.Options{Compression: compression, ClusterBits: 12}); err != nil {
			f.Fatal(err)
		}
		f.Add(file.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := qcow2.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if fault.KindOf(err) != fault.Input {
				t.Errorf("%v is of kind %v", err, fault.KindOf(err))
			}
			return
		}
		testkit.Foreign(t, r)
	})
}

// FuzzRoundTrip writes disks of any size and content and reads them back.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint32(1), uint64(1), uint8(0))
	f.Add(uint32(129), uint64(2), uint8(4))
	f.Add(uint32(65536), uint64(3), uint8(9))
	f.Fuzz(func(t *testing.T, sectors uint32, seed uint64, bits uint8) {
		disk := testkit.Fragments(seed, (int64(sectors%400_000)+1)*512)
		for _, compression := range compressions {
			file := &memoryFile{}
			if _, err := qcow2.Write(t.Context(), file, disk, qcow2.Options{Compression: compression, ClusterBits: 12 + uint32(bits%10)}); err != nil {
				t.Fatal(err)
			}
			r, err := qcow2.Open(bytes.NewReader(file.data), int64(len(file.data)))
			if err != nil {
				t.Fatal(err)
			}
			testkit.Same(t, disk, r)
		}
	})
}
