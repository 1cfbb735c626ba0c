package qcow2

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/org/imagebuild-action/internal/testkit"
)

// TestCompressorForgets packs the same cluster until the compressor's 32-bit
// positions have gone round: what it makes must never depend on what it made
// before, or the bytes of a file would depend on which worker got which one.
func TestCompressorForgets(t *testing.T) {
	testkit.Whole(t, "packs 2 GiB twice")
	data := make([]byte, 64<<10)
	for i := range 3000 { // little to do, and something for every table
		data[i*i%len(data)] = byte(i * 7)
	}
	for _, kind := range []Compression{Zlib, Zstd} {
		pack, err := newCompressor(kind, len(data))
		if err != nil {
			t.Fatal(err)
		}
		var first []byte
		for i := range 35_000 {
			packed, err := pack(data)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = bytes.Clone(packed)
			}
			if !bytes.Equal(first, packed) {
				t.Fatalf("%s: cluster %d is packed in another way than the first", kind, i)
			}
		}
	}
}

// TestZlibWindow proves that no match reaches back further than QEMU's window
// of 4 KiB: what repeats after more than that must not become smaller.
func TestZlibWindow(t *testing.T) {
	pack, err := newCompressor(Zlib, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	for _, distance := range []int{1000, 4000, 4095, 4096, 4097, 5000, 20_000} {
		block := make([]byte, distance)
		r := rand.New(rand.NewPCG(uint64(distance), 1))
		for i := range block {
			block[i] = byte(r.IntN(128)) // compresses to seven eighths by its letters alone
		}
		data := bytes.Repeat(block, 64<<10/distance+1)[:64<<10]
		packed, err := pack(data)
		if err != nil {
			t.Fatal(err)
		}
		if found := packed != nil && len(packed) < 40_000; found != (distance <= zlibWindow) && distance != zlibWindow {
			t.Errorf("a repetition at distance %d gave %d bytes", distance, len(packed))
		}
		if packed == nil {
			continue // not worth it, and stored as it is
		}
		got, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("distance %d: the standard library reads something else, %v", distance, err)
		}
	}
}
