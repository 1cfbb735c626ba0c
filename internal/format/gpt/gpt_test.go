package gpt

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/testkit"
)

var update = flag.Bool("update", false, "write the goldens anew")

// memory is a disk in memory that fails at its nth write.
type memory struct {
	data   []byte
	failAt int
	writes int
}

var errWrite = errors.New("write failed")

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.writes++; m.writes == m.failAt {
		return 0, errWrite
	}
	return copy(m.data[off:], p), nil
}

func guid(t testing.TB, n int) GUID {
	t.Helper()
	g, err := ParseGUID(fmt.Sprintf("%08x-1111-4222-8333-444444444444", n))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func sample(t testing.TB, sectors int64) Table {
	return Table{DiskGUID: guid(t, 100), Sectors: sectors, Partitions: []Partition{
		{Type: BIOSBoot, GUID: guid(t, 1), First: 2048, Last: 4095, Name: "bios"},
		{Type: EFISystem, GUID: guid(t, 2), First: 4096, Last: 6143, Name: "esp"},
		{Type: LinuxRootX86, GUID: guid(t, 3), First: 6144, Last: LastUsable(sectors), Attributes: 1 << 2, Name: "Würzel"},
	}}
}

func TestConstantsAreGUIDs(t *testing.T) {
	for _, text := range []string{BIOSBoot.String(), EFISystem.String(), LinuxRootX86.String(), LinuxData.String()} {
		g, err := ParseGUID(text)
		if err != nil || g == (GUID{}) || g.String() != text {
			t.Errorf("%s: %v, %v", text, g, err)
		}
	}
	for _, text := range []string{"", "x", strings.Repeat("-", 36), "21686148-6449-6e6f-744e-65656445464", "2168614-86449-6e6f-744e-656564454649"} {
		if g, err := ParseGUID(text); err == nil {
			t.Errorf("%q is taken for %s", text, g)
		}
	}
}

func TestWriteAndRead(t *testing.T) {
	const sectors = 32768
	want := sample(t, sectors)
	disk := &memory{data: make([]byte, sectors*SectorSize)}
	if err := want.Write(disk, []byte("boot")); err != nil {
		t.Fatal(err)
	}
	for n := range want.Partitions {
		want.Partitions[n].Number = n + 1
	}
	for _, damage := range []string{"nothing", "header", "entries"} {
		data := bytes.Clone(disk.data)
		switch damage {
		case "header":
			data[SectorSize+40] ^= 1
		case "entries":
			data[2*SectorSize] ^= 1
		}
		got, err := Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatalf("damaged %s: %v", damage, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("damaged %s (-want +got):\n%s", damage, diff)
		}
	}
	if !bytes.HasPrefix(disk.data, []byte("boot")) {
		t.Error("the boot code is not in sector 0")
	}
	data := make([]byte, 1<<20)
	if _, err := Read(bytes.NewReader(data), 1<<20); !errors.Is(err, ErrNone) {
		t.Errorf("an empty disk: %v", err)
	}
}

func TestWriteFails(t *testing.T) {
	for n := 1; n <= 5; n++ {
		disk := &memory{data: make([]byte, 32768*SectorSize), failAt: n}
		if err := sample(t, 32768).Write(disk, nil); !errors.Is(err, errWrite) {
			t.Errorf("write %d: error is %v", n, err)
		}
	}
	if err := sample(t, 32768).Write(&memory{}, make([]byte, BootCodeBytes+1)); err == nil {
		t.Error("boot code of 441 bytes is accepted")
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Table)
		want   string
	}{
		{"tiny disk", func(t *Table) { t.Sectors = 60 }, "too small"},
		{"no type", func(t *Table) { t.Partitions[0].Type = GUID{} }, "no type"},
		{"unaligned", func(t *Table) { t.Partitions[0].First = 2049 }, "multiple"},
		{"backwards", func(t *Table) { t.Partitions[1].Last = 4000 }, "within"},
		{"into the backup", func(t *Table) { t.Partitions[2].Last = t.Sectors - 33 }, "within"},
		{"overlap", func(t *Table) { t.Partitions[0].Last = 4096 }, "overlap"},
		{"one GUID twice", func(t *Table) { t.Partitions[0].GUID = t.Partitions[1].GUID }, "same GUID"},
		{"long name", func(t *Table) { t.Partitions[0].Name = strings.Repeat("x", 37) }, "longer"},
		{"too many", func(t *Table) { t.Partitions = make([]Partition, 129) }, "128"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := sample(t, 32768)
			test.change(&table)
			if err := table.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestOracle(t *testing.T) {
	sfdisk := testkit.Tool(t, "sfdisk")
	const sectors = 131072
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(sectors * SectorSize); err != nil {
		t.Fatal(err)
	}
	if err := sample(t, sectors).Write(f, nil); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), sfdisk, "--verify", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("sfdisk --verify: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), sfdisk, "--dump", name).CombinedOutput()
	if err != nil {
		t.Fatalf("sfdisk --dump: %v\n%s", err, out)
	}
	got := strings.ReplaceAll(string(out), name, "disk")
	const golden = "testdata/dump.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("sfdisk --dump (-want +got):\n%s", diff)
	}
}

func TestSgdisk(t *testing.T) {
	sgdisk := testkit.Tool(t, "sgdisk")
	name := filepath.Join(t.TempDir(), "disk")
	disk := &memory{data: make([]byte, 131072*SectorSize)}
	if err := sample(t, 131072).Write(disk, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, disk.data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), sgdisk, "-v", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
}

func FuzzRead(f *testing.F) {
	disk := &memory{data: make([]byte, 8192*SectorSize)}
	table := Table{DiskGUID: guid(f, 9), Sectors: 8192, Partitions: []Partition{
		{Type: LinuxData, GUID: guid(f, 1), First: 2048, Last: 4095, Name: "data"},
	}}
	if err := table.Write(disk, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(disk.data[:40*SectorSize], int64(8192*SectorSize))
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		got, err := Read(bytes.NewReader(data), size)
		if err != nil {
			return
		}
		for _, p := range got.Partitions {
			if p.First < 0 || p.Last < p.First || p.OffsetBytes()+p.SizeBytes() > size {
				t.Errorf("partition %+v lies outside a disk of %d bytes", p, size)
			}
		}
	})
}
