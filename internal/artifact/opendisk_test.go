package artifact

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
)

func xzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(content)
	_ = w.Close()
	return out.Bytes()
}

func openDisk(t *testing.T, path string) (*OpenedDisk, error) {
	t.Helper()
	return OpenDisk(t.Context(), path, t.TempDir(), report.Discard.Begin(""))
}

func TestOpenDisk(t *testing.T) {
	d := newDisk(t)
	plain, err := raw.Open(write(t, "plain", d.raw))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	metadata := member{"metadata.json", []byte(`{"provider": "libvirt", "format": "qcow2", "virtual_size": 1}`)}
	box := foreign(t, metadata, member{"Vagrantfile", []byte(vagrantfile)}, member{"box.img", d.qcow2})
	archive, err := os.ReadFile(ova(t, ovf.VMware, target.Hardware{CPUs: 2, Memory: size.GiB, Firmware: target.UEFI, Controller: target.PVSCSI, NIC: target.VMXNet3}, d.stream))
	if err != nil {
		t.Fatal(err)
	}
	converted := func(format, options string) []byte {
		t.Helper()
		out := filepath.Join(t.TempDir(), "converted")
		testkit.QemuImg(t, "convert", "-f", "raw", "-O", format, "-o", options, write(t, "plain", d.raw), out)
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	fixed := converted("vpc", "subformat=fixed,force_size=on")
	for name, content := range map[string][]byte{
		"VHD": converted("vpc", "force_size=on"), "VHD, fixed": fixed, "VHD, fixed, gzip": gzipped(t, fixed), "VHDX": converted("vhdx", "log_size=1M"),
		"raw": d.raw, "qcow2": d.qcow2, "VMDK, stream": d.stream, "VMDK, sparse": d.sparse,
		"raw, gzip": gzipped(t, d.raw), "raw, xz": xzipped(t, d.raw), "raw, zstd": zstandard(t, d.raw),
		"qcow2, xz": xzipped(t, d.qcow2), "VMDK, gzip": gzipped(t, d.sparse), "raw, gzip in two": append(gzipped(t, d.raw[:5000]), gzipped(t, d.raw[5000:])...),
		"box": box, "box, gzip": gzipped(t, box), "box, zstd": zstandard(t, box), "OVA": archive,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := openDisk(t, write(t, "file.iso", content)) // the name lies
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			testkit.Same(t, plain, got)
		})
	}
}

func TestOpenDiskWithoutPartitions(t *testing.T) {
	content := make([]byte, 1<<20)
	copy(content[1024+56:], "\x53\xef")
	got, err := openDisk(t, write(t, "disk", gzipped(t, content)))
	if err != nil || got.Size() != 1<<20 {
		t.Fatal(got, err)
	}
	got.Close()
}

func TestOpenDiskRefuses(t *testing.T) {
	d := newDisk(t)
	backed := bytes.Clone(d.qcow2)
	copy(backed[8:], []byte{0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 11})
	copy(backed[256:], "/etc/shadow")
	vdi := make([]byte, 512)
	copy(vdi[0x40:], "\x7f\x10\xda\xbe")
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"nothing":             {nil, "empty"},
		"text":                {[]byte(strings.Repeat("<html>", 200)), "neither a disk image"},
		"compressed text":     {gzipped(t, []byte(strings.Repeat("<html>", 200))), "neither a disk image"},
		"compressed nothing":  {gzipped(t, nil), "damaged"},
		"cut off, gzip":       {gzipped(t, d.raw)[:1000], "damaged"},
		"cut off, xz":         {xzipped(t, d.raw)[:1000], "damaged"},
		"cut off, zstd":       {zstandard(t, d.raw)[:1000], "damaged"},
		"twice compressed":    {gzipped(t, gzipped(t, d.raw)), "an archive inside the archive"},
		"not whole sectors":   {d.raw[:1<<19+1], "whole number"},
		"a backing file":      {backed, "backing file"},
		"a backing file, gz":  {gzipped(t, backed), "backing file"},
		"extents elsewhere":   {[]byte("# Disk DescriptorFile\nversion=1\nRW 2048 FLAT \"/dev/sda\" 0\n" + strings.Repeat(" ", 512)), "only a description"},
		"VDI":                 {vdi, "VDI"},
		"a tar without disks": {foreign(t, member{"a", []byte("b")}), ""},
		"a box that escapes":  {foreign(t, member{"metadata.json", []byte(`{"provider": "libvirt", "format": "qcow2"}`)}, member{"../box.img", d.qcow2}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := openDisk(t, write(t, "file", c.content))
			if err == nil {
				t.Fatal("opened, of size", got.Size())
			}
			if !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
				t.Errorf("%v of kind %v, want %q", err, fault.KindOf(err), c.want)
			}
		})
	}
}

func TestOpenDiskLeavesNothing(t *testing.T) {
	d := newDisk(t)
	path, dir := write(t, "file", gzipped(t, d.raw)), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenDisk(ctx, path, dir, report.Discard.Begin("")); !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
