package mbr_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/mbr"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

const diskBytes = 64 << 20

// made is a disk that sfdisk partitioned.
func made(t testing.TB, script string) []byte {
	t.Helper()
	sfdisk := testkit.Tool(t, "sfdisk")
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, diskBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run.Output(t.Context(), run.Spec{Argv: []string{sfdisk, "-q", "--no-reread", "--no-tell-kernel", path}, Stdin: strings.NewReader(script)}); err != nil {
		t.Fatal(err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const logical = "label: dos\nlabel-id: 0x1234abcd\nsize=8M, type=83, bootable\nsize=2M, type=82\nsize=40M, type=5\nsize=4M, type=83\nsize=4M, type=8e\nsize=4M, type=fd\nsize=4M, type=83\n"

// TestAgainstSfdisk compares with what the program says that it wrote.
func TestAgainstSfdisk(t *testing.T) {
	for name, script := range map[string]string{
		"primary": "label: dos\nlabel-id: 0x1\nsize=8M, type=83\nsize=4M, type=ef\n",
		"logical": logical,
		"a gap":   "label: dos\nlabel-id: 0xffffffff\n1: size=8M, type=83\n3: size=4M, type=82\n",
	} {
		t.Run(name, func(t *testing.T) {
			data := made(t, script)
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := run.Output(t.Context(), run.Spec{Argv: []string{testkit.Tool(t, "sfdisk"), "--json", path}})
			if err != nil {
				t.Fatal(err)
			}
			var said struct {
				PartitionTable struct {
					ID         string
					Partitions []struct {
						Node, Type  string
						Start, Size int64
					}
				}
			}
			if err := json.Unmarshal([]byte(out), &said); err != nil {
				t.Fatal(err)
			}
			got, err := mbr.Read(bytes.NewReader(data), diskBytes)
			if err != nil {
				t.Fatal(err)
			}
			var want []mbr.Partition
			for _, p := range said.PartitionTable.Partitions {
				if p.Type == "5" {
					continue
				}
				number := strings.TrimPrefix(p.Node, path)
				each := mbr.Partition{Type: unhex(t, p.Type), First: p.Start, Last: p.Start + p.Size - 1}
				each.Number = int(number[0] - '0')
				each.ID = strings.TrimPrefix(said.PartitionTable.ID, "0x") + "-0" + number
				want = append(want, each)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func unhex(t *testing.T, text string) byte {
	t.Helper()
	n := 0
	for _, c := range text {
		n = n*16 + strings.IndexRune("0123456789abcdef", c)
	}
	return byte(n)
}

func TestRefused(t *testing.T) {
	whole := made(t, logical)
	chain := bytes.LastIndex(whole, []byte{0x55, 0xaa}) - 510 // the last of the logical tables
	for name, c := range map[string]struct {
		change func([]byte)
		want   string
	}{
		"no signature":     {func(b []byte) { b[511] = 0 }, "no partition table"},
		"no partitions":    {func(b []byte) { clear(b[446:510]) }, "no partition table"},
		"code":             {func(b []byte) { b[446] = 0x33 }, "no partition table"},
		"beyond it":        {func(b []byte) { b[446+15] = 0xff }, "no partition table"},
		"GPT, damaged":     {func(b []byte) { b[446+4] = 0xee }, "GUID partition table"},
		"in a circle":      {func(b []byte) { copy(b[chain+446+16:], []byte{0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}) }, "no order"},
		"logical, outside": {func(b []byte) { b[chain+446+15] = 0xff }, "cut off"},
	} {
		data := bytes.Clone(whole)
		c.change(data)
		if _, err := mbr.Read(bytes.NewReader(data), diskBytes); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := mbr.Read(bytes.NewReader(nil), 0); !errors.Is(err, mbr.ErrNone) {
		t.Errorf("nothing: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(made(f, logical)[:512], int64(diskBytes))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		found, err := mbr.Read(bytes.NewReader(data), size)
		if err != nil && !errors.Is(err, mbr.ErrNone) && fault.KindOf(err) != fault.Input {
			t.Errorf("%v of kind %v", err, fault.KindOf(err))
		}
		for _, p := range found {
			if p.First < 1 || p.Last < p.First || p.OffsetBytes()+p.SizeBytes() > size {
				t.Errorf("%+v on a disk of %d bytes", p, size)
			}
		}
	})
}
