package ovf_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	govmomi "github.com/vmware/govmomi/ovf"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

func newSpec(flavour ovf.Flavour, firmware target.Firmware, c target.Controller, n target.NIC) ovf.Spec {
	return ovf.Spec{
		Flavour: flavour, Name: `gol"den & <co>`, Version: "1.2.3", OSName: "debian",
		Hardware: target.Hardware{CPUs: 3, Memory: 1536 * size.MiB, Firmware: firmware, Controller: c, NIC: n},
		Disk:     ovf.DiskFile{Name: "disk.vmdk", SizeBytes: 1234, CapacityBytes: 8 << 30, PopulatedBytes: 65536},
		MAC:      "080027ABCDEF", MachineUUID: "m", DiskUUID: "d",
	}
}

// What we write, we read back, whatever the hardware; and govmomi reads it too.
func TestRenderedIsParsed(t *testing.T) {
	flavours := map[ovf.Flavour]struct {
		controllers []target.Controller
		nics        []target.NIC
	}{
		ovf.VirtualBox: {
			[]target.Controller{target.AHCI, target.IDE, target.LSILogic, target.VirtioSCSI, target.NVMe},
			[]target.NIC{target.E1000, target.VirtioNet},
		},
		ovf.VMware: {
			[]target.Controller{target.PVSCSI, target.LSILogic, target.AHCI, target.NVMe, target.IDE},
			[]target.NIC{target.VMXNet3, target.E1000, target.E1000E},
		},
	}
	for flavour, known := range flavours {
		for _, firmware := range []target.Firmware{target.BIOS, target.UEFI} {
			for _, c := range known.controllers {
				for _, n := range known.nics {
					t.Run(fmt.Sprint(flavour, firmware, c, n), func(t *testing.T) {
						spec := newSpec(flavour, firmware, c, n)
						text, err := ovf.Render(spec)
						if err != nil {
							t.Fatal(err)
						}
						p, err := ovf.Parse(bytes.NewReader(text))
						if err != nil {
							t.Fatal(err)
						}
						if p.Hardware != spec.Hardware || p.Name != spec.Name {
							t.Errorf("%+v", p)
						}
						want := []ovf.Disk{{
							File: "disk.vmdk", SizeBytes: 1234, CapacityBytes: 8 << 30,
							Format: "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
						}}
						if !reflect.DeepEqual(p.Disks, want) {
							t.Errorf("%+v", p.Disks)
						}
						e, err := govmomi.Unmarshal(bytes.NewReader(text))
						if err != nil || e.VirtualSystem == nil || len(e.VirtualSystem.VirtualHardware[0].Item) != 5 || *e.VirtualSystem.Name != spec.Name {
							t.Errorf("govmomi: %v", err)
						}
					})
				}
			}
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for _, spec := range []ovf.Spec{
		newSpec(ovf.VirtualBox, target.BIOS, target.PVSCSI, target.E1000),
		newSpec(ovf.VirtualBox, target.BIOS, target.AHCI, target.VMXNet3),
		newSpec(ovf.VMware, target.BIOS, target.VirtioSCSI, target.E1000),
		newSpec(ovf.VMware, target.BIOS, target.AHCI, target.VirtioNet),
		newSpec("xen", target.BIOS, target.AHCI, target.E1000),
	} {
		if _, err := ovf.Render(spec); err == nil {
			t.Errorf("%s %s %s was rendered", spec.Flavour, spec.Hardware.Controller, spec.Hardware.NIC)
		}
	}
}

// envelope wraps the parts of a foreign envelope.
func envelope(files, disks, system string) string {
	return `<?xml version="1.0"?><ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:r="rasd">` +
		`<ovf:References>` + files + `</ovf:References><ovf:DiskSection>` + disks + `</ovf:DiskSection>` + system + `</ovf:Envelope>`
}

const (
	oneFile = `<ovf:File ovf:id="f" ovf:href="a%20disk.vmdk" ovf:size=" 77 "/>`
	oneDisk = `<ovf:Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="20" ovf:capacityAllocationUnits="byte * 2^30"/>`
	hard    = `<ovf:VirtualSystem ovf:id="vm"><ovf:VirtualHardwareSection>`
	drah    = `</ovf:VirtualHardwareSection></ovf:VirtualSystem>`
	diskOn5 = `<ovf:Item><r:HostResource>ovf:/disk/d</r:HostResource><r:Parent>5</r:Parent><r:ResourceType>17</r:ResourceType></ovf:Item>`
)

func TestParseForeign(t *testing.T) {
	tests := []struct {
		name, text string
		want       ovf.Package
		err        string
	}{
		{
			name: "units, spaces and order",
			text: envelope(oneFile, oneDisk, hard+diskOn5+
				`<ovf:Item><r:ResourceType> 3 </r:ResourceType><r:VirtualQuantity>4</r:VirtualQuantity></ovf:Item>`+
				`<ovf:Item><r:AllocationUnits>GigaBytes</r:AllocationUnits><r:ResourceType>4</r:ResourceType><r:VirtualQuantity>2</r:VirtualQuantity></ovf:Item>`+
				`<ovf:EthernetPortItem><r:ResourceSubType>PCNet32</r:ResourceSubType><r:ResourceType>10</r:ResourceType></ovf:EthernetPortItem>`+
				`<ovf:Item><r:InstanceID>5</r:InstanceID><r:ResourceSubType>lsilogicsas</r:ResourceSubType><r:ResourceType>6</r:ResourceType></ovf:Item>`+drah),
			want: ovf.Package{
				Name: "vm", Hardware: target.Hardware{CPUs: 4, Memory: 2 * size.GiB, Firmware: target.BIOS},
				ControllerType: "lsilogicsas", NICType: "PCNet32",
				Disks: []ovf.Disk{{File: "a disk.vmdk", SizeBytes: 77, CapacityBytes: 20 << 30}},
			},
		},
		{
			name: "property for a capacity, absurd numbers",
			text: envelope(oneFile, `<ovf:Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="${size}"/>`, hard+diskOn5+
				`<ovf:Item><r:ResourceType>3</r:ResourceType><r:VirtualQuantity>99999999999</r:VirtualQuantity></ovf:Item>`+
				`<ovf:Item><r:AllocationUnits>byte * 9^99</r:AllocationUnits><r:ResourceType>4</r:ResourceType><r:VirtualQuantity>2</r:VirtualQuantity></ovf:Item>`+drah),
			want: ovf.Package{
				Name: "vm", Hardware: target.Hardware{CPUs: 4096, Firmware: target.BIOS},
				Disks: []ovf.Disk{{File: "a disk.vmdk", SizeBytes: 77}},
			},
		},
		{name: "no disk", text: envelope(oneFile, oneDisk, hard+drah), err: "no disk"},
		{name: "no machine", text: envelope("", "", ""), err: "no machine"},
		{name: "collection", text: envelope("", "", "<ovf:VirtualSystemCollection/>"), err: "collection"},
		{name: "other document", text: "<html/>", err: "not Envelope"},
		{name: "nothing", text: "", err: "EOF"},
		{name: "outside", text: envelope(`<ovf:File ovf:id="f" ovf:href="../x.vmdk"/>`, oneDisk, hard+diskOn5+drah), err: "beside"},
		{name: "remote", text: envelope(`<ovf:File ovf:id="f" ovf:href="http://x/y.vmdk"/>`, oneDisk, hard+diskOn5+drah), err: "beside"},
		{name: "compressed", text: envelope(`<ovf:File ovf:id="f" ovf:href="x" ovf:compression="gzip"/>`, oneDisk, hard+diskOn5+drah), err: "compressed"},
		{name: "huge", text: "<a>" + strings.Repeat(" ", 9<<20), err: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ovf.Parse(strings.NewReader(tt.text))
			if tt.want.Name == "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || fault.KindOf(err) != fault.Input {
					t.Errorf("error %v", err)
				}
			} else if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
}

func TestManifest(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	written := ovf.Manifest(ovf.Digest{Name: "a.ovf", Hex: sum}, ovf.Digest{Name: "b.vmdk", Hex: sum})
	if want := "SHA256(a.ovf)= " + sum + "\nSHA256(b.vmdk)= " + sum + "\n"; string(written) != want {
		t.Errorf("%q", written)
	}
	good := []string{
		string(written), "SHA1 (x y.vmdk) = " + sum[:40] + "\r\n", "SHA512(x)=" + sum + sum, "SHA256(x)= " + strings.ToUpper(sum) + "\n\n",
	}
	for _, text := range good {
		if digests, err := ovf.ParseManifest([]byte(text)); err != nil || len(digests) == 0 {
			t.Errorf("%q: %v", text, err)
		}
	}
	bad := []string{
		"MD5(x)= " + sum[:32] + "\n", "SHA1(x)= " + sum + "\n", "SHA256(x)= " + sum + " \n", "SHA256(x)= A" + sum[1:] + "\n",
		"x\n", "SHA256(x)= " + sum + "\nSHA256(x)= " + sum + "\n", "SHA256(x)= " + sum + "\r",
	}
	for _, text := range bad {
		if _, err := ovf.ParseManifest([]byte(text)); fault.KindOf(err) != fault.Input {
			t.Errorf("%q: %v", text, err)
		}
	}
	// Any one byte of our manifest counts.
	digests, _ := ovf.ParseManifest(written)
	for i := range written {
		for flip := 1; flip < 256; flip += 6 {
			broken := bytes.Clone(written)
			broken[i] ^= byte(flip)
			if again, err := ovf.ParseManifest(broken); err == nil && reflect.DeepEqual(again, digests) {
				t.Fatalf("byte %d ^ %#x means the same", i, flip)
			}
		}
	}
}

func TestOVAThatLies(t *testing.T) {
	spec := newSpec(ovf.VMware, target.BIOS, target.PVSCSI, target.VMXNet3)
	spec.Disk.SizeBytes = 4
	text, err := ovf.Render(spec)
	if err != nil {
		t.Fatal(err)
	}
	const fineSum = "1aa6c451104c2c1b24ecc66ab84bae2ce1cb1aa6c451104c2c1b24ecc66ab84b"
	dir := t.TempDir()
	if _, err := ovf.WriteOVA(t.Context(), filepath.Join(dir, "a.ova"), ovf.OVA{
		Name: "a", Envelope: text, Disk: spec.Disk, DiskSHA256: fineSum, Content: strings.NewReader("fine"),
	}); err == nil {
		t.Error("a disk of another digest was packed")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	members := func(pairs ...string) string {
		path := filepath.Join(dir, "b.ova")
		archive, err := tarball.Create(path, time.Unix(0, 0), tarball.Plain)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(pairs); i += 2 {
			if err := archive.AddBytes(t.Context(), pairs[i], []byte(pairs[i+1])); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := archive.Commit(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, err string
		members   []string
	}{
		{"order", "first member", []string{"disk.vmdk", "fine", "a.ovf", string(text)}},
		{"missing disk", "is missing", []string{"a.ovf", string(text)}},
		{"wrong size", "the envelope says 4", []string{"a.ovf", string(text), "disk.vmdk", "fines"}},
		{"manifest without disk", "says nothing of", []string{"a.ovf", string(text), "a.mf", "", "disk.vmdk", "fine"}},
		{"manifest of more", "which is missing", []string{"a.ovf", string(text), "a.mf", "SHA256(x)= " + fineSum, "disk.vmdk", "fine"}},
		{"wrong digest", "not what the manifest says", []string{"a.ovf", string(text), "a.mf", "SHA256(disk.vmdk)= " + fineSum, "disk.vmdk", "fine"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ovf.WalkOVA(t.Context(), members(tt.members...), nil)
			if err == nil || !strings.Contains(err.Error(), tt.err) || fault.KindOf(err) != fault.Input {
				t.Errorf("error %v", err)
			}
		})
	}
	var seen []string
	opened, err := ovf.WalkOVA(t.Context(), members("a.ovf", string(text), "disk.vmdk", "fine"), func(m tarball.Member, content io.Reader) error {
		all, err := io.ReadAll(content)
		seen = append(seen, fmt.Sprint(m.Name, len(all)))
		return err
	})
	if err != nil || opened.Verified || len(seen) != 2 || seen[1] != "disk.vmdk4" {
		t.Errorf("without manifest: %v, %v, %v", opened, seen, err)
	}
}

func FuzzParse(f *testing.F) {
	text, _ := ovf.Render(newSpec(ovf.VirtualBox, target.UEFI, target.AHCI, target.E1000))
	f.Add(string(text))
	f.Add(envelope(oneFile, oneDisk, hard+diskOn5+drah))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ovf.Parse(strings.NewReader(text))
		if err != nil {
			if fault.KindOf(err) != fault.Input {
				t.Error(err)
			}
			return
		}
		for _, d := range p.Disks {
			if !filepath.IsLocal(d.File) || d.CapacityBytes < 0 || d.SizeBytes < 0 || p.Hardware.Memory < 0 || p.Hardware.CPUs < 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte("SHA256(a)= " + strings.Repeat("0", 64) + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := ovf.ParseManifest(text); err != nil && fault.KindOf(err) != fault.Input {
			t.Error(err)
		}
	})
}
