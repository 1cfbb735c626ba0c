package vhdx_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/vhdx"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// made is a disk as qemu-img writes it.
func made(t testing.TB, disk image.Disk, options string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vhdx")
	testkit.QemuImg(t, "convert", "-f", "raw", "-O", "vhdx", "-o", options, testkit.RawFile(t, disk), path)
	return path
}

func TestQemuAgrees(t *testing.T) {
	for name, disk := range testkit.Disks() {
		for _, options := range []string{"subformat=dynamic,block_size=1M", "subformat=dynamic,block_size=32M", "subformat=fixed"} {
			if options == "subformat=fixed" && disk.Size() > 1<<30 || strings.Contains(options, "32M") && disk.Size() > 1<<31 {
				continue // written in full
			}
			t.Run(options+"/"+name, func(t *testing.T) {
				t.Parallel()
				f, err := os.Open(made(t, disk, options))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				info, err := f.Stat()
				if err != nil {
					t.Fatal(err)
				}
				got, err := vhdx.Open(f, info.Size())
				if err != nil {
					t.Fatal(err)
				}
				testkit.Same(t, disk, got)
			})
		}
	}
}

func small(t testing.TB) []byte {
	t.Helper()
	disk := testkit.NewDisk(5 << 20)
	disk.Put(100, testkit.Prose(1, 3000))
	data, err := os.ReadFile(made(t, disk, "subformat=dynamic,block_size=1M,log_size=1M"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	headerOne, headerTwo   = 64 << 10, 128 << 10
	regionsOne, regionsTwo = 192 << 10, 256 << 10
)

// seal makes the checksum of a structure right again.
func seal(b []byte) {
	binary.LittleEndian.PutUint32(b[4:], 0)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func TestRefused(t *testing.T) {
	whole := small(t)
	le := binary.LittleEndian
	headers := func(change func([]byte)) func([]byte) {
		return func(b []byte) {
			for _, at := range []int{headerOne, headerTwo} {
				change(b[at : at+4096])
				seal(b[at : at+4096])
			}
		}
	}
	regions := func(change func([]byte)) func([]byte) {
		return func(b []byte) {
			for _, at := range []int{regionsOne, regionsTwo} {
				change(b[at : at+64<<10])
				seal(b[at : at+64<<10])
			}
		}
	}
	places := map[byte]int{} // of the regions, by the first byte of their GUIDs
	for n := range 2 {
		e := whole[regionsOne+16+32*n:]
		places[e[0]] = int(le.Uint64(e[16:]))
	}
	bat, metadata := places[0x66], places[0x06]
	item := func(first byte, change func(entry, value []byte)) func([]byte) {
		return func(b []byte) {
			for n := range int(le.Uint16(b[metadata+10:])) {
				e := b[metadata+32+32*n:]
				if e[0] == first {
					change(e[:32], b[metadata+int(le.Uint32(e[16:])):])
				}
			}
		}
	}
	for name, c := range map[string]struct {
		change func([]byte)
		want   string
	}{
		"no magic":              {func(b []byte) { b[0] = 'x' }, "does not begin with vhdxfile"},
		"both headers damaged":  {func(b []byte) { b[headerOne+100] ^= 1; b[headerTwo+100] ^= 1 }, "neither header"},
		"not closed":            {headers(func(b []byte) { b[48] = 1 }), "log has not been replayed"},
		"a later version":       {headers(func(b []byte) { b[66] = 2 }), "version 2"},
		"both tables damaged":   {func(b []byte) { b[regionsOne+100] ^= 1; b[regionsTwo+100] ^= 1 }, "neither table of regions"},
		"many regions":          {regions(func(b []byte) { le.PutUint32(b[8:], 1<<20) }), "regions"},
		"no regions":            {regions(func(b []byte) { le.PutUint32(b[8:], 0) }), "no table of blocks"},
		"a region outside":      {regions(func(b []byte) { le.PutUint64(b[16+16:], 1<<40) }), "a region of"},
		"an unknown region":     {regions(func(b []byte) { b[16] ^= 1; b[16+28] |= 1 }), "required and unknown"},
		"no metadata":           {func(b []byte) { b[metadata] = 'x' }, "there is no table"},
		"unknown metadata":      {item(0x37, func(e, _ []byte) { e[1] ^= 1; e[24] |= 4 }), "required and unknown"},
		"metadata outside":      {item(0x24, func(e, _ []byte) { le.PutUint32(e[16:], 1<<30) }), "an item of"},
		"differencing":          {item(0x37, func(_, v []byte) { v[4] |= 2 }), "the difference to another file"},
		"odd blocks":            {item(0x37, func(_, v []byte) { le.PutUint32(v, 3<<20) }), "blocks of"},
		"large sectors":         {item(0x1d, func(_, v []byte) { le.PutUint32(v, 4096) }), "sectors of 4096 bytes"},
		"no size":               {item(0x24, func(_, v []byte) { le.PutUint64(v, 0) }), "virtual size of 0"},
		"larger than its table": {item(0x24, func(_, v []byte) { le.PutUint64(v, 60<<40) }), "a table of"},
		"a block outside":       {func(b []byte) { le.PutUint64(b[bat:], 1<<40|6) }, "block 0 lies at"},
		"partly there":          {func(b []byte) { b[bat] = b[bat]&^7 | 7 }, "the state 7"},
	} {
		data := bytes.Clone(whole)
		c.change(data)
		d, err := vhdx.Open(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			_, err = d.ReadAt(make([]byte, 512), 0)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range []int{0, 7, 100 << 10, 300 << 10, 2 << 20} {
		if _, err := vhdx.Open(bytes.NewReader(whole[:n]), int64(n)); err == nil || fault.KindOf(err) != fault.Input {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestOneHeaderIsEnough: a writer that was interrupted leaves the other.
func TestOneHeaderIsEnough(t *testing.T) {
	for _, at := range []int{headerOne, headerTwo, regionsOne} {
		data := small(t)
		data[at+8] ^= 1
		if _, err := vhdx.Open(bytes.NewReader(data), int64(len(data))); err != nil {
			t.Errorf("damaged at %d: %v", at, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	whole := small(f)
	f.Add(0, []byte{1}, 0, []byte{1})
	f.Add(1<<20, []byte{7}, 3<<20, []byte{6, 0, 0x40})
	f.Fuzz(func(t *testing.T, at int, change []byte, second int, again []byte) {
		data := bytes.Clone(whole)
		copy(data[uint(at)%uint(len(data)):], change)
		copy(data[uint(second)%uint(len(data)):], again)
		for _, at := range []int{headerOne, headerTwo} {
			seal(data[at : at+4096])
		}
		for _, at := range []int{regionsOne, regionsTwo} {
			seal(data[at : at+64<<10])
		}
		d, err := vhdx.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if fault.KindOf(err) != fault.Input {
				t.Errorf("%v of kind %v", err, fault.KindOf(err))
			}
			return
		}
		testkit.Foreign(t, d)
	})
}
