package qcow2

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Compression is how data clusters are stored.
type Compression string

// The compressions. Zstd needs QEMU 5.1 (2020) to read; Zlib, everything.
const (
	None Compression = "none"
	Zlib Compression = "zlib"
	Zstd Compression = "zstd"
)

// zlibWindow is fixed by the format: qcow2.txt, "compression_type", and
// QEMU's readers, which inflate with a window of 12 bits.
const zlibWindow = 4 << 10

// compressor packs one cluster; the result is valid until the next call. A
// nil result means that packing does not pay. It keeps no state from cluster
// to cluster that would show in its output.
type compressor func(cluster []byte) ([]byte, error)

func newCompressor(kind Compression, clusterBytes int) (compressor, error) {
	switch kind {
	case None:
		return func([]byte) ([]byte, error) { return nil, nil }, nil
	case Zlib:
		var out bytes.Buffer
		w, err := flate.NewWriterWindow(&out, zlibWindow)
		if err != nil {
			return nil, err
		}
		return func(cluster []byte) ([]byte, error) {
			out.Reset()
			w.Reset(&out)
			if _, err := w.Write(cluster); err != nil {
				return nil, err
			}
			if err := w.Close(); err != nil {
				return nil, err
			}
			return worthwhile(out.Bytes(), clusterBytes), nil
		}, nil
	case Zstd:
		// One frame that declares its size, without a checksum: as QEMU has it. On a
		// disk of Debian's the next level makes it a twenty-seventh smaller and takes
		// nearly twice as long.
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true),
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(max(clusterBytes, zstd.MinWindowSize)))
		if err != nil {
			return nil, err
		}
		var out []byte
		return func(cluster []byte) ([]byte, error) {
			out = enc.EncodeAll(cluster, out[:0])
			return worthwhile(out, clusterBytes), nil
		}, nil
	}
	return nil, fmt.Errorf("%q is not a qcow2 compression; write %s, %s or %s", kind, Zstd, Zlib, None)
}

// worthwhile drops what would not save a sector; a plain cluster reads faster.
func worthwhile(packed []byte, clusterBytes int) []byte {
	if len(packed) > clusterBytes-sector {
		return nil
	}
	return packed
}

// decompressor unpacks a cluster. What is behind the compressed data, up to
// its last sector's end, belongs to others and is ignored.
type decompressor struct {
	input bytes.Reader
	zlib  io.ReadCloser
	zstd  *zstd.Decoder
}

func (d *decompressor) unpack(kind uint8, packed, cluster []byte) error {
	d.input.Reset(packed)
	var r io.Reader
	switch kind {
	case typeZlib:
		if d.zlib == nil {
			d.zlib = flate.NewReader(&d.input)
		} else if err := d.zlib.(flate.Resetter).Reset(&d.input, nil); err != nil {
			return err
		}
		r = d.zlib
	default:
		var err error
		if d.zstd == nil {
			d.zstd, err = zstd.NewReader(&d.input, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		} else {
			err = d.zstd.Reset(&d.input)
		}
		if err != nil {
			return err
		}
		r = d.zstd
	}
	_, err := io.ReadFull(r, cluster)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
