package vhd_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/vhd"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// made is a disk as qemu-img writes it.
func made(t testing.TB, disk image.Disk, subformat string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vhd")
	// force_size: else it is rounded to what cylinders and heads can say.
	testkit.QemuImg(t, "convert", "-f", "raw", "-O", "vpc", "-o", "subformat="+subformat+",force_size=on", testkit.RawFile(t, disk), path)
	return path
}

func TestQemuAgrees(t *testing.T) {
	for name, disk := range testkit.Disks() {
		for _, subformat := range []string{"dynamic", "fixed"} {
			if subformat == "fixed" && disk.Size() > 1<<30 {
				continue // it is written in full
			}
			t.Run(subformat+"/"+name, func(t *testing.T) {
				t.Parallel()
				f, err := os.Open(made(t, disk, subformat))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				info, err := f.Stat()
				if err != nil {
					t.Fatal(err)
				}
				got, err := vhd.Open(f, info.Size())
				if err != nil {
					t.Fatal(err)
				}
				testkit.Same(t, disk, got)
			})
		}
	}
}

func small(t testing.TB, subformat string) []byte {
	t.Helper()
	disk := testkit.NewDisk(5 << 20)
	disk.Put(100, testkit.Prose(1, 3000))
	disk.Put(4<<20, testkit.Prose(2, 700))
	data, err := os.ReadFile(made(t, disk, subformat))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// seal makes a footer's checksum right again.
func seal(b []byte, at int) {
	binary.BigEndian.PutUint32(b[at:], 0)
	sum := uint32(0)
	for _, each := range b {
		sum += uint32(each)
	}
	binary.BigEndian.PutUint32(b[at:], ^sum)
}

func TestRefused(t *testing.T) {
	whole := small(t, "dynamic")
	footer := func(change func([]byte)) func([]byte) []byte {
		return func(b []byte) []byte { change(b[len(b)-512:]); seal(b[len(b)-512:], 64); return b }
	}
	header := func(change func([]byte)) func([]byte) []byte {
		return func(b []byte) []byte { change(b[512:1536]); seal(b[512:1536], 36); return b }
	}
	be := binary.BigEndian
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"cut off":        {func(b []byte) []byte { return b[:len(b)-1] }, "does not end with a footer"},
		"a footer alone": {func(b []byte) []byte { return b[len(b)-512:] }, "header is at byte"},
		"a wrong sum":    {func(b []byte) []byte { b[len(b)-512+50] ^= 1; return b }, "footer's checksum"},
		"differencing":   {footer(func(b []byte) { be.PutUint32(b[60:], 4) }), "the difference to another file"},
		"a type to come": {footer(func(b []byte) { be.PutUint32(b[60:], 9) }), "type 9"},
		"no size":        {footer(func(b []byte) { be.PutUint64(b[48:], 0) }), "virtual size of 0"},
		"an odd size":    {footer(func(b []byte) { be.PutUint64(b[48:], 513) }), "virtual size of 513"},
		"fixed, short":   {footer(func(b []byte) { be.PutUint32(b[60:], 2); be.PutUint64(b[48:], 1<<40) }), "in a file of"},
		"too large":      {footer(func(b []byte) { be.PutUint64(b[48:], 1<<45) }), "more than"},
		"more blocks":    {footer(func(b []byte) { be.PutUint64(b[48:], 1<<30) }), "a table of"},
		"header outside": {footer(func(b []byte) { be.PutUint64(b[16:], 1<<60) }), "header is at byte"},
		"no header":      {header(func(b []byte) { b[0] = 'x' }), "there is no header"},
		"header damaged": {func(b []byte) []byte { b[512+40] ^= 1; return b }, "header's checksum"},
		"odd blocks":     {header(func(b []byte) { be.PutUint32(b[32:], 3<<20) }), "blocks of"},
		"table outside":  {header(func(b []byte) { be.PutUint64(b[16:], 1<<40) }), "a table of"},
		"block outside":  {func(b []byte) []byte { be.PutUint32(b[1536:], 1<<31); return b }, "block 0 lies at"},
	} {
		data := c.change(bytes.Clone(whole))
		if _, err := vhd.Open(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnwrittenSectors: what the bitmap does not name is zero.
func TestUnwrittenSectors(t *testing.T) {
	data := small(t, "dynamic")
	block := int(binary.BigEndian.Uint32(data[1536:])) * 512
	data[block] &^= 0x40 // the second sector
	d, err := vhd.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2048)
	if err := image.ReadBlock(d, got, 0); err != nil {
		t.Fatal(err)
	}
	if image.IsZero(got[:512]) || !image.IsZero(got[512:1024]) || image.IsZero(got[1024:]) {
		t.Error("the second sector, and no other, should be zero")
	}
}

func FuzzOpen(f *testing.F) {
	dynamic := small(f, "dynamic")
	f.Add(dynamic[:4096], dynamic[len(dynamic)-512:])
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		data := append(bytes.Clone(head), make([]byte, 64<<10)...)
		if len(tail) >= 512 { // sums that a fuzzer would never guess
			tail = bytes.Clone(tail)
			seal(tail[len(tail)-512:], 64)
			if len(head) >= 1536 {
				seal(data[512:1536], 36)
			}
		}
		data = append(data, tail...)
		d, err := vhd.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if fault.KindOf(err) != fault.Input {
				t.Errorf("%v of kind %v", err, fault.KindOf(err))
			}
			return
		}
		testkit.Foreign(t, d)
	})
}
