package bzimage_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/format/bzimage"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

const setupSectors = 2

// image makes a bzImage of a payload, as the kernel's own build lays it out.
func image(payload []byte) []byte {
	const offset = 100 // the unpacking program comes first
	data := make([]byte, (setupSectors+1)*512+offset)
	data[0x1f1] = setupSectors
	copy(data[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(data[0x206:], 0x020f)
	binary.LittleEndian.PutUint32(data[0x248:], offset)
	binary.LittleEndian.PutUint32(data[0x24c:], uint32(len(payload)))
	return append(append(data, payload...), "what follows"...)
}

// sized appends the length of what was compressed.
func sized(packed []byte, length int) []byte {
	return binary.LittleEndian.AppendUint32(packed, uint32(length))
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return sized(z.EncodeAll(data, nil), len(data))
}

// xz packs as the kernel's build does: with the filter for x86 code.
func xz(t *testing.T, data []byte) []byte {
	t.Helper()
	testkit.Tool(t, "xz")
	var b bytes.Buffer
	err := run.Run(t.Context(), run.Spec{
		Argv:  []string{"xz", "--check=crc32", "--x86", "--lzma2=dict=1MiB", "--stdout"},
		Stdin: bytes.NewReader(data), Stdout: &b,
	})
	if err != nil {
		t.Fatal(err)
	}
	return sized(b.Bytes(), len(data))
}

func TestUnpack(t *testing.T) {
	kernel := testkit.Noise(1, 300_000)
	for name, pack := range map[string]func(*testing.T, []byte) []byte{"gzip": gzipped, "zstd": zstandard, "xz": xz} {
		t.Run(name, func(t *testing.T) {
			packed := image(pack(t, kernel))
			var out bytes.Buffer
			if err := bzimage.Unpack(t.Context(), &out, bytes.NewReader(packed), int64(len(kernel))); err != nil || !bytes.Equal(out.Bytes(), kernel) {
				t.Errorf("%d bytes, want %d: %v", out.Len(), len(kernel), err)
			}
			out.Reset()
			if err := bzimage.Unpack(t.Context(), &out, bytes.NewReader(packed), int64(len(kernel))-1); err == nil || out.Len() >= len(kernel) {
				t.Errorf("%d bytes where one fewer is the limit: %v", out.Len(), err)
			}
			if err := bzimage.Unpack(t.Context(), new(bytes.Buffer), bytes.NewReader(packed[:len(packed)/2]), 1<<20); err == nil {
				t.Error("half a kernel was unpacked")
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	good := image(gzipped(t, []byte("kernel")))
	with := func(offset int, text string) []byte {
		data := bytes.Clone(good)
		copy(data[offset:], text)
		return data
	}
	for name, tc := range map[string]struct {
		data []byte
		want error
	}{
		"empty":                {nil, bzimage.ErrFormat},
		"an ELF file":          {with(0x202, "\x7fELF"), bzimage.ErrFormat},
		"an old boot protocol": {with(0x206, "\x07\x02"), bzimage.ErrFormat},
		"no payload":           {with(0x24c, "\x00\x00\x00\x00"), bzimage.ErrFormat},
		"a payload outside":    {with(0x248, "\xff\xff\xff\x7f"), bzimage.ErrFormat},
		"another compression":  {image([]byte("\x02\x21\x4c\x18 lz4 and more")), bzimage.ErrCompression},
		"more than is allowed": {image(gzipped(t, make([]byte, 2000))), bzimage.ErrTooLarge},
		"cut short":            {good[:0x200], bzimage.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			if err := bzimage.Unpack(t.Context(), new(bytes.Buffer), bytes.NewReader(tc.data), 1000); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

// elf is a 64-bit file of one segment of notes.
func elf(machine uint16, notes []byte) []byte {
	const headerBytes, segmentBytes = 64, 56
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	for _, each := range []any{
		uint16(2), machine, uint32(1), uint64(0x1000000), uint64(headerBytes), uint64(0), uint32(0),
		uint16(headerBytes), uint16(segmentBytes), uint16(1), uint16(64), uint16(0), uint16(0),
		// the segment: type, flags, offset, two addresses, two sizes, alignment
		uint32(4), uint32(4), uint64(headerBytes + segmentBytes), uint64(0), uint64(0), uint64(len(notes)), uint64(len(notes)), uint64(4),
	} {
		_ = binary.Write(&b, binary.LittleEndian, each)
	}
	b.Write(notes)
	return b.Bytes()
}

func note(name string, kind uint32, content string) []byte {
	pad := func(text string) string { return text + strings.Repeat("\x00", -len(text)&3) }
	var b []byte
	for _, n := range []uint32{uint32(len(name) + 1), uint32(len(content)), kind} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return append(b, pad(name+"\x00")+pad(content)...)
}

func TestHasPVH(t *testing.T) {
	const amd64, arm64 = 62, 183
	version, entry := note("Linux", 0, "6.1.0"), note("Xen", 18, "\x50\x08\x00\x01")
	for name, tc := range map[string]struct {
		data []byte
		want bool
	}{
		"a kernel":              {elf(amd64, append(bytes.Clone(version), entry...)), true},
		"no entry":              {elf(amd64, version), false},
		"another's note":        {elf(amd64, note("Zen", 18, "\x50\x08\x00\x01")), false},
		"another kind":          {elf(amd64, note("Xen", 17, "\x50\x08\x00\x01")), false},
		"another processor":     {elf(arm64, entry), false},
		"notes that end early":  {elf(amd64, entry[:14]), false},
		"a name without an end": {elf(amd64, []byte("\xff\xff\xff\xff\x04\x00\x00\x00\x12\x00\x00\x00Xen\x00")), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := bzimage.HasPVH(bytes.NewReader(tc.data)); err != nil || got != tc.want {
				t.Errorf("%t, want %t: %v", got, tc.want, err)
			}
		})
	}
	if _, err := bzimage.HasPVH(strings.NewReader("#!/bin/sh")); err == nil {
		t.Error("a script is no kernel")
	}
}

func FuzzHasPVH(f *testing.F) {
	f.Add(elf(62, note("Xen", 18, "\x50\x08\x00\x01")))
	f.Add(image([]byte(fmt.Sprint("\x1f\x8b", "x"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = bzimage.HasPVH(bytes.NewReader(data))
		_ = bzimage.Unpack(t.Context(), new(bytes.Buffer), bytes.NewReader(data), 1<<16)
	})
}
