package vmdk_test

import (
	"bytes"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/testkit"
)

// FuzzOpen feeds foreign bytes to the reader: it may refuse them, as an Input
// fault, but never panic or read what is not there.
func FuzzOpen(f *testing.F) {
	disk := testkit.NewDisk(33 << 20)
	disk.Put(70<<10, testkit.Prose(1, 700))
	disk.Put(33<<20-512, testkit.Prose(2, 512))
	for _, format := range formats {
		var out bytes.Buffer
		if _, err := format.write(f.Context(), &out, disk, 1); err != nil {
			f.Fatal(err)
		}
		f.Add(out.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := vmdk.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if fault.KindOf(err) != fault.Input {
				t.Errorf("%v is of kind %v", err, fault.KindOf(err))
			}
			return
		}
		testkit.Foreign(t, r)
		_ = r.Verify(t.Context())
	})
}

// FuzzRoundTrip writes disks of any size and content and reads them back.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint32(1), uint64(1))
	f.Add(uint32(129), uint64(2))
	f.Add(uint32(65536), uint64(3))
	f.Fuzz(func(t *testing.T, sectors uint32, seed uint64) {
		disk := testkit.Fragments(seed, (int64(sectors%400_000)+1)*512)
		for _, format := range formats {
			var out bytes.Buffer
			if _, err := format.write(t.Context(), &out, disk, 2); err != nil {
				t.Fatal(err)
			}
			r, err := vmdk.Open(bytes.NewReader(out.Bytes()), int64(out.Len()))
			if err != nil {
				t.Fatal(err)
			}
			testkit.Same(t, disk, r)
			if err := r.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
