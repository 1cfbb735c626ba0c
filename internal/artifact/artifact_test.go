package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

const diskBytes = 1 << 20

// disk is a small disk that looks bootable, in every format.
type disk struct {
	raw, qcow2, stream, sparse []byte
}

func newDisk(t *testing.T) disk {
	t.Helper()
	content := make([]byte, diskBytes)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range content[:300_000] {
		content[i] = byte(random.Uint32())
	}
	content[510], content[511] = 0x55, 0xaa
	path := write(t, "disk.raw", content)
	opened, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	d := disk{raw: content}
	var stream, sparse bytes.Buffer
	if _, err := vmdk.WriteStream(t.Context(), &stream, opened, vmdk.StreamOptions{CID: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := vmdk.WriteSparse(t.Context(), &sparse, opened, vmdk.SparseOptions{CID: 1}); err != nil {
		t.Fatal(err)
	}
	d.stream, d.sparse = stream.Bytes(), sparse.Bytes()
	q, err := os.Create(filepath.Join(t.TempDir(), "q"))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if _, err := qcow2.Write(t.Context(), q, opened, qcow2.Options{}); err != nil {
		t.Fatal(err)
	}
	if d.qcow2, err = os.ReadFile(q.Name()); err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// member of an archive in the order of its making.
type member struct {
	name    string
	content []byte
}

// foreign makes an archive as other people's tools do.
func foreign(t *testing.T, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		header := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content)), ModTime: time.Unix(1, 0), Uname: "someone"}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(m.content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(content)
	_ = w.Close()
	return out.Bytes()
}

func zstandard(t *testing.T, content []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(content, nil)
}

func envelope(t *testing.T, flavour ovf.Flavour, h target.Hardware, d []byte) []byte {
	t.Helper()
	text, err := ovf.Render(ovf.Spec{
		Flavour: flavour, Name: "golden", Version: "1", OSName: "debian", Hardware: h,
		Disk:        ovf.DiskFile{Name: "disk1.vmdk", SizeBytes: int64(len(d)), CapacityBytes: diskBytes, PopulatedBytes: diskBytes},
		MachineUUID: "00000000-0000-4000-8000-000000000001", DiskUUID: "00000000-0000-4000-8000-000000000002", MAC: "080027000001",
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func ova(t *testing.T, flavour ovf.Flavour, h target.Hardware, d []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "golden.ova")
	sum := sha256.Sum256(d)
	_, err := ovf.WriteOVA(t.Context(), path, ovf.OVA{
		Name: "golden", Epoch: time.Unix(1, 0), Envelope: envelope(t, flavour, h, d),
		Disk:       ovf.DiskFile{Name: "disk1.vmdk", SizeBytes: int64(len(d)), CapacityBytes: diskBytes},
		DiskSHA256: hex.EncodeToString(sum[:]), Content: bytes.NewReader(d),
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ours makes a box with a seal.
func ours(t *testing.T, form tarball.Form, members ...member) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "golden.box")
	box, err := vagrantbox.Create(path, form, vagrantbox.Seal{Name: "golden", Version: "1", Arch: "amd64", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Abort()
	for _, m := range members {
		if err := box.AddBytes(t.Context(), m.name, m.content); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := box.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return path
}

const vmxText = `numvcpus = "2"
memsize = "512"
firmware = "efi"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.fileName = "disk.vmdk"
scsi0:0.present = "TRUE"
ethernet0.virtualDev = "vmxnet3"
`

const vagrantfile = `Vagrant.configure("2") do |config|
  config.vm.provider :libvirt do |libvirt|
    libvirt.cpus = 3
    libvirt.memory = 768
    libvirt.disk_bus = "scsi"
    libvirt.nic_model_type = 'e1000'
    libvirt.loader = %w[/usr/share/OVMF/OVMF_CODE_4M.fd].find { |file| File.exist?(file) }
  end
end
`

func TestOpenAndUnpack(t *testing.T) {
	d := newDisk(t)
	metadata := func(text string) member { return member{"metadata.json", []byte(text)} }
	sata := target.Hardware{CPUs: 2, Memory: size.GiB, Firmware: target.BIOS, Controller: target.AHCI, NIC: target.E1000}
	para := target.Hardware{CPUs: 2, Memory: size.GiB, Firmware: target.UEFI, Controller: target.PVSCSI, NIC: target.VMXNet3}
	virtio := target.Hardware{Firmware: target.BIOS, Controller: target.VirtioBlk, NIC: target.VirtioNet}
	libvirtOne := []member{metadata(`{"provider":"libvirt","format":"qcow2","virtual_size":1}`), {"box.img", d.qcow2}}
	for _, test := range []struct {
		name     string
		path     string
		kind     image.Kind
		provider string
		hardware target.Hardware
		checks   string
		disk     []byte
		format   string
	}{
		{"raw", write(t, "a.raw", d.raw), image.Raw, "", virtio, "", d.raw, "raw"},
		{"qcow2", write(t, "a.img", d.qcow2), image.QCOW2, "", virtio, "", d.qcow2, "qcow2"},
		{"stream vmdk", write(t, "a.vmdk", d.stream), image.VMDK, "", virtio, "", d.stream, "vmdk"},
		{"sparse vmdk", write(t, "a.vmdk", d.sparse), image.VMDK, "", virtio, "", d.sparse, "vmdk"},
		{"our virtualbox OVA", ova(t, ovf.VirtualBox, sata, d.stream), image.OVA, "virtualbox", sata, "manifest", d.stream, "vmdk"},
		{"our vmware OVA", ova(t, ovf.VMware, para, d.stream), image.OVA, "vmware", para, "manifest", d.stream, "vmdk"},
		{
			"OVA without manifest, named otherwise", write(t, "x.tar", foreign(t, member{"a.ovf", envelope(t, ovf.VMware, para, d.stream)}, member{"disk1.vmdk", d.stream})),
			image.OVA, "vmware", para, "", d.stream, "vmdk",
		},
		{"our libvirt box", ours(t, tarball.Plain, libvirtOne...), image.Box, "libvirt", virtio, "imagebuild.json", d.qcow2, "qcow2"},
		{"our libvirt box, gzip", ours(t, tarball.Gzip, libvirtOne...), image.Box, "libvirt", virtio, "imagebuild.json", d.qcow2, "qcow2"},
		{"foreign libvirt box, gzip", write(t, "a.box", gzipped(t, foreign(t, libvirtOne...))), image.Box, "libvirt", virtio, "", d.qcow2, "qcow2"},
		{"foreign libvirt box, zstd, no name", write(t, "a", zstandard(t, foreign(t, libvirtOne...))), image.Box, "libvirt", virtio, "", d.qcow2, "qcow2"},
		{
			"libvirt box, version 2", write(t, "a.box", foreign(t, metadata(`{"provider":"libvirt","disks":[{"path":"./one.img","format":"raw"},{"path":"two.img"}]}`),
				member{"one.img", d.raw}, member{"two.img", d.qcow2}, member{"Vagrantfile", []byte(vagrantfile)})),
			image.Box, "libvirt",
			target.Hardware{CPUs: 3, Memory: 768 * size.MiB, Firmware: target.UEFI, Controller: target.VirtioSCSI, NIC: target.E1000},
			"", d.raw, "raw",
		},
		{
			"virtualbox box", ours(t, tarball.Plain, metadata(`{"provider":"virtualbox"}`), member{"box.ovf", envelope(t, ovf.VirtualBox, sata, d.stream)}, member{"disk1.vmdk", d.stream}),
			image.Box, "virtualbox", sata, "imagebuild.json", d.stream, "vmdk",
		},
		{
			"vmware box", ours(t, tarball.Plain, metadata(`{"provider":"vmware_desktop"}`), member{"a.vmx", []byte(vmxText)}, member{"disk.vmdk", d.sparse}),
			image.Box, "vmware_desktop",
			target.Hardware{CPUs: 2, Memory: 512 * size.MiB, Firmware: target.UEFI, Controller: target.PVSCSI, NIC: target.VMXNet3},
			"imagebuild.json", d.sparse, "vmdk",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, _ := os.ReadFile(test.path)
			a, err := Open(t.Context(), test.path)
			if err != nil {
				t.Fatal(err)
			}
			if a.Kind != test.kind || a.Provider != test.provider || a.Hardware != test.hardware || strings.Join(a.Checks, " ") != test.checks {
				t.Errorf("got %s %q %+v %q", a.Kind, a.Provider, a.Hardware, a.Checks)
			}
			dir := t.TempDir()
			got, err := a.Unpack(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(got.Path)
			if err != nil || !bytes.Equal(content, test.disk) || got.Format != test.format {
				t.Errorf("%d bytes of %s, want %d of %s, %v", len(content), got.Format, len(test.disk), test.format, err)
			}
			if got.Owned != strings.HasPrefix(got.Path, dir) {
				t.Errorf("%s is said to be ours: %v", got.Path, got.Owned)
			}
			if after, _ := os.ReadFile(test.path); !bytes.Equal(before, after) {
				t.Error("the artifact changed")
			}
		})
	}
}

// TestOneDamagedByte damages what we make, byte by byte (here and there in the
// bulk of the data), and wants each refused before its disk has a name.
func TestOneDamagedByte(t *testing.T) {
	d := newDisk(t)
	h := target.Hardware{CPUs: 1, Memory: size.GiB, Firmware: target.BIOS, Controller: target.AHCI, NIC: target.E1000}
	box := []member{{"metadata.json", []byte(`{"provider":"libvirt","format":"qcow2"}`)}, {"box.img", d.qcow2}}
	for name, path := range map[string]string{
		"box":      ours(t, tarball.Plain, box...),
		"gzip box": ours(t, tarball.Gzip, box...),
		"ova":      ova(t, ovf.VirtualBox, h, d.stream),
		"vmdk":     write(t, "disk.vmdk", d.stream),
	} {
		t.Run(name, func(t *testing.T) {
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// A bare path has no folder of its own to be damaged in.
			random := rand.New(rand.NewPCG(3, 4))
			for n := range 100 {
				at := random.IntN(len(whole))
				switch {
				case n < 40:
					at = n * 13
				case n < 80:
					at = len(whole) - 1 - (n-40)*53
				}
				damaged := bytes.Clone(whole)
				damaged[at] ^= 1 << random.IntN(8)
				file := write(t, filepath.Base(path), damaged)
				a, err := Open(t.Context(), file)
				if err == nil {
					_, err = a.Unpack(t.Context(), t.TempDir())
				}
				if fault.KindOf(err) != fault.Input {
					t.Errorf("byte %d changed: %v", at, err)
				}
				if n == 0 {
					t.Log(err)
				}
			}
			for _, n := range []int{0, 1, 511, 512, len(whole) / 2, len(whole) - 1} {
				if _, err := Open(t.Context(), write(t, filepath.Base(path), whole[:n])); fault.KindOf(err) != fault.Input {
					t.Errorf("cut off after %d bytes: %v", n, err)
				}
			}
		})
	}
}

func TestSums(t *testing.T) {
	d := newDisk(t)
	path := write(t, "a.raw", d.raw)
	sum := sha256.Sum256(d.raw)
	list := filepath.Join(filepath.Dir(path), sumsName)
	for name, test := range map[string]struct {
		list   string
		checks int
		kind   fault.Kind
	}{
		"right":  {fmt.Sprintf("%x  other\n%x  a.raw\n", sha256.Sum256(nil), sum), 1, 0},
		"binary": {fmt.Sprintf("%x *a.raw\n", sum), 1, 0},
		"other":  {fmt.Sprintf("%x  b.raw\n", sum), 0, 0},
		"wrong":  {fmt.Sprintf("%x  a.raw\n", sha256.Sum256(nil)), 0, fault.Input},
		"broken": {"abc  a.raw\n", 0, fault.Input},
		"empty":  {"", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(list, []byte(test.list), 0o644); err != nil {
				t.Fatal(err)
			}
			a, err := Open(t.Context(), path)
			if test.kind != 0 {
				if fault.KindOf(err) != test.kind {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || len(a.Checks) != test.checks {
				t.Errorf("%v, %v", a, err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	d := newDisk(t)
	metadata := member{"metadata.json", []byte(`{"provider":"libvirt","format":"qcow2"}`)}
	backed := bytes.Clone(d.qcow2)
	backed[15], backed[19] = 104, 5 // backing_file_offset and _size
	for name, test := range map[string]struct {
		content []byte
		file    string
		want    string
	}{
		"empty file":       {nil, "a.raw", "empty"},
		"text":             {[]byte("hello"), "a.raw", "neither"},
		"backing file":     {backed, "a.qcow2", "back"},
		"descriptor":       {[]byte("# Disk DescriptorFile\nversion=1\nRW 1 FLAT \"/etc/shadow\" 0\n"), "a.vmdk", "other files"},
		"leaves its place": {foreign(t, metadata, member{"../box.img", d.qcow2}), "a.box", "box.img"},
		"no disk":          {foreign(t, metadata), "a.box", "box.img"},
		"other provider":   {foreign(t, member{"metadata.json", []byte(`{"provider":"hyperv"}`)}), "a.box", "hyperv"},
		"no metadata":      {foreign(t, member{"box.img", d.qcow2}), "a.box", "metadata.json"},
		"no vmx":           {foreign(t, member{"metadata.json", []byte(`{"provider":"vmware_desktop"}`)}), "a.box", ".vmx"},
		"no ovf":           {foreign(t, member{"metadata.json", []byte(`{"provider":"virtualbox"}`)}), "a.box", "box.ovf"},
		"another format":   {foreign(t, metadata, member{"box.img", d.raw}), "a.box", "looks like raw"},
		"backed in a box":  {foreign(t, metadata, member{"box.img", backed}), "a.box", "back"},
		"partial sector":   {append(bytes.Clone(d.raw), 1), "a.raw", "sectors"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := Open(t.Context(), write(t, test.file, test.content))
			if err == nil {
				dir := t.TempDir()
				_, err = a.Unpack(t.Context(), dir)
			}
			if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.file) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := Open(t.Context(), "/no/such/file"); fault.KindOf(err) != fault.Input {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Open(t.Context(), t.TempDir()); fault.KindOf(err) != fault.Input {
		t.Errorf("folder: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	d := newDisk(t)
	path := ours(t, tarball.Plain, member{"metadata.json", []byte(`{"provider":"libvirt"}`)}, member{"box.img", d.qcow2})
	a, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := a.Unpack(ctx, dir); !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled {
		t.Errorf("unpack: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := Open(ctx, path); fault.KindOf(err) != fault.Cancelled {
		t.Errorf("open: %v", err)
	}
}

func TestSparseWrite(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content := append(make([]byte, 1<<20), 1, 2, 3)
	if _, err := io.Copy(sparse{f}, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(f.Name())
	if !bytes.Equal(got, content) {
		t.Error("other content")
	}
}

func FuzzVagrantfile(f *testing.F) {
	f.Add([]byte(vagrantfile))
	f.Fuzz(func(_ *testing.T, text []byte) { _ = libvirtHardware(text) })
}
