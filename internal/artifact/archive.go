package artifact

import (
	"bytes"
	"context"
	"io"
	"path"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/format/vmx"
	"github.com/org/imagebuild-action/internal/image"
)

// maxDescription bounds the members of a box that are read into memory.
const maxDescription = 8 << 20

// openBox reads a box to its end.
func (a *Artifact) openBox(ctx context.Context) error {
	a.Kind = image.Box
	texts, sizes := map[string][]byte{}, map[string]int64{}
	box, err := vagrantbox.Walk(ctx, a.Path, func(member tarball.Member, content io.Reader) error {
		sizes[member.Name] = member.SizeBytes
		if !isDescription(member.Name) {
			return nil
		}
		if member.SizeBytes > maxDescription {
			return fault.Errorf(fault.Input, "%s is larger than %d bytes", member.Name, maxDescription)
		}
		text, err := io.ReadAll(content)
		texts[member.Name] = text
		return err
	})
	if err != nil {
		return err
	}
	if box.Seal != nil {
		a.Checks = append(a.Checks, vagrantbox.SealName)
	}
	a.Provider = box.Metadata.Provider
	switch a.Provider {
	case "libvirt", "qemu", "kvm":
		a.libvirtBox(box.Metadata, texts)
	case "virtualbox":
		err = a.virtualboxBox(texts)
	case "vmware_desktop", "vmware_workstation", "vmware_fusion", "vmware":
		err = a.vmwareBox(texts)
	default:
		err = fault.Errorf(fault.Input, "boxes for %q cannot be booted here; libvirt, virtualbox and vmware_desktop can", a.Provider)
	}
	if err != nil {
		return err
	}
	var ok bool
	if a.bytes, ok = sizes[a.member]; !ok {
		return fault.Errorf(fault.Input, "the disk %q is missing", a.member)
	}
	return nil
}

func isDescription(name string) bool {
	switch {
	case name == "box.ovf", name == "Vagrantfile", path.Ext(name) == ".vmx" && !strings.Contains(name, "/"):
		return true
	}
	return false
}

// libvirtBox reads both layouts: box.img, or a list of disks.
func (a *Artifact) libvirtBox(metadata vagrantbox.Metadata, texts map[string][]byte) {
	a.member, a.format = "box.img", metadata.Format
	if len(metadata.Disks) > 0 {
		a.member, a.format = path.Clean(metadata.Disks[0].Path), metadata.Disks[0].Format
	}
	a.Hardware = libvirtHardware(texts["Vagrantfile"])
	a.assume(bareDefaults)
}

func (a *Artifact) virtualboxBox(texts map[string][]byte) error {
	text, ok := texts["box.ovf"]
	if !ok {
		return fault.Errorf(fault.Input, "box.ovf is missing")
	}
	envelope, err := ovf.Parse(bytes.NewReader(text))
	if err != nil {
		return err
	}
	a.member, a.Hardware = envelope.Disks[0].File, envelope.Hardware
	a.assume(virtualboxDefaults)
	return nil
}

func (a *Artifact) vmwareBox(texts map[string][]byte) error {
	for name, text := range texts {
		if path.Ext(name) != ".vmx" {
			continue
		}
		if a.member != "" {
			return fault.Errorf(fault.Input, "it holds more than one .vmx file")
		}
		dictionary, err := vmx.Parse(bytes.NewReader(text))
		if err != nil {
			return err
		}
		if a.Hardware, a.member = vmxHardware(dictionary); a.member == "" {
			return fault.Errorf(fault.Input, "%s names no disk", name)
		}
	}
	if a.member == "" {
		return fault.Errorf(fault.Input, "there is no .vmx file")
	}
	a.member = path.Clean(a.member)
	a.assume(vmwareDefaults)
	return nil
}

func (a *Artifact) openOVA(ctx context.Context) error {
	a.Kind = image.OVA
	opened, err := ovf.WalkOVA(ctx, a.Path, nil)
	if err != nil {
		return err
	}
	if opened.Verified {
		a.Checks = append(a.Checks, "manifest")
	}
	a.Hardware, a.member = opened.Package.Hardware, path.Clean(opened.Package.Disks[0].File)
	for _, member := range opened.Members {
		if member.Name == a.member {
			a.bytes = member.SizeBytes
		}
	}
	defaults := vmwareDefaults
	a.Provider = "vmware"
	if strings.HasPrefix(opened.Package.Type, "virtualbox") {
		a.Provider, defaults = "virtualbox", virtualboxDefaults
	}
	a.assume(defaults)
	return nil
}

// walk reads the archive again, with every check.
func (a *Artifact) walk(ctx context.Context, fn func(tarball.Member, io.Reader) error) error {
	if a.Kind == image.Box {
		_, err := vagrantbox.Walk(ctx, a.Path, fn)
		return err
	}
	_, err := ovf.WalkOVA(ctx, a.Path, fn)
	return err
}
