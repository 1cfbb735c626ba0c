package vmdk

import (
	"bytes"
	"io"
	"testing"

	"github.com/org/imagebuild-action/internal/testkit"
)

// grainDisk repeats one grain for ever.
type grainDisk struct{ data []byte }

func (grainDisk) Size() int64 { return maxBytes }

func (d grainDisk) ReadAt(p []byte, _ int64) (int, error) { return copy(p, d.data), nil }

func (grainDisk) NextExtent(int64) (start, end int64, err error) { return 0, 0, io.EOF }

// TestCompressorForgets packs the same grain until the compressor's 32-bit
// positions have gone round, which takes about 22,000 grains: what it makes
// must never depend on what it made before, or the bytes of a file would
// depend on which worker got which grain.
func TestCompressorForgets(t *testing.T) {
	testkit.Whole(t, "packs 1.6 GiB")
	disk := grainDisk{data: make([]byte, grainBytes)}
	for i := range 3000 { // little to do, and something for every table
		disk.data[i*i%grainBytes] = byte(i * 7)
	}
	var first []byte
	pack, g := packer(disk, DefaultLevel), &grain{data: make([]byte, grainBytes)}
	for i := range 25_000 {
		if err := pack(g); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = bytes.Clone(g.packed.Bytes())
		}
		if !bytes.Equal(first, g.packed.Bytes()) {
			t.Fatalf("grain %d is packed in another way than the first", i)
		}
	}
}
