// Package ovf writes and reads OVF 1.x envelopes (DMTF DSP0243) and their
// manifests: what a virtual machine is made of, beside its disk, in an OVA or
// a VirtualBox box.
//
// VirtualBox and VMware refuse each other's machines, so Render writes one
// envelope per target:
//
//	envelope, err := ovf.Render(ovf.Spec{Flavour: ovf.VMware, Name: "golden", ...})
//
// Parse reads anyone's. Both refuse what has no place in a machine of ours:
// Render a controller or card that the flavour does not know, Parse files of
// more than 8 MiB and collections of several machines.
package ovf

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/org/imagebuild-action/internal/target"
)

// Flavour is who an envelope is for.
type Flavour string

// The flavours.
const (
	VirtualBox Flavour = "virtualbox"
	VMware     Flavour = "vmware"
)

// VMwareHardwareVersion is what our envelopes and .vmx files ask for: ESXi
// 6.7, Workstation 14, Fusion 10, the first with NVMe and UEFI in every product.
const VMwareHardwareVersion = 14

// Spec is a machine with one disk.
type Spec struct {
	Flavour     Flavour
	Name        string // of the machine
	Version     string // of the image, for people
	OSName      string // "debian"
	Hardware    target.Hardware
	Disk        DiskFile
	MachineUUID string // lower case
	DiskUUID    string // lower case
	MAC         string // 12 upper-case hex digits
}

// DiskFile is a streamOptimized VMDK.
type DiskFile struct {
	Name           string
	SizeBytes      int64
	CapacityBytes  int64
	PopulatedBytes int64
}

// streamOptimized is the format's name in a DiskSection.
const streamOptimized = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"

// The name spaces: DSP0243, annex "XML schemas", and the two vendors'.
const (
	nsOVF  = "http://schemas.dmtf.org/ovf/envelope/1"
	nsRASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
	nsVSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
	nsVBox = "http://www.virtualbox.org/ovf/machine"
	nsVMW  = "http://www.vmware.com/schema/ovf"
)

// Kinds of resource: CIM_ResourceAllocationSettingData.ResourceType.
const (
	resourceCPU      = 3
	resourceMemory   = 4
	resourceIDE      = 5
	resourceSCSI     = 6
	resourceEthernet = 10
	resourceDisk     = 17
	resourceStorage  = 20 // "other storage device": SATA, NVMe
)

// instance ids of the items in an envelope of ours.
const (
	instanceCPU = iota + 1
	instanceMemory
	instanceController
	instanceDisk
	instanceNIC
)

// Render writes the envelope. The same Spec gives the same bytes.
func Render(spec Spec) ([]byte, error) {
	var e *envelope
	var err error
	switch spec.Flavour {
	case VirtualBox:
		e, err = virtualBoxEnvelope(spec)
	case VMware:
		e, err = vmwareEnvelope(spec)
	default:
		err = fmt.Errorf("ovf: unknown flavour %q", spec.Flavour)
	}
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	encoder := xml.NewEncoder(&out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(e); err != nil {
		return nil, fmt.Errorf("ovf: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// base is what both flavours have in common.
func base(spec Spec) *envelope {
	title := strings.TrimSpace(spec.Name + " " + spec.Version)
	id, description := osID(spec.OSName)
	return &envelope{
		Lang: "en-US", Version: "1.0", NS: nsOVF, NSOVF: nsOVF, NSRASD: nsRASD, NSVSSD: nsVSSD,
		Files: []fileRef{{Href: spec.Disk.Name, ID: "file1", Size: spec.Disk.SizeBytes}},
		Disks: diskSection{
			Info: "The disk",
			Disk: []diskDesc{{
				Capacity: spec.Disk.CapacityBytes, Units: "byte", ID: "vmdisk1", FileRef: "file1",
				Format: streamOptimized, Populated: spec.Disk.PopulatedBytes,
			}},
		},
		Networks: networkSection{Info: "The network", Network: []network{{Name: "NAT", Description: "NAT"}}},
		System: system{
			ID: spec.Name, Info: "A virtual machine", Name: spec.Name,
			Product: product{Info: "The image", Product: spec.Name, Version: spec.Version},
			Note:    annotation{Info: "About the image", Text: title},
			OS:      osSection{ID: id, Info: "The guest operating system", Description: description},
		},
	}
}

// items are the resources that both flavours describe alike.
func items(spec Spec, controller item, subType string) []item {
	cpus, mib := int64(spec.Hardware.CPUs), int64(spec.Hardware.Memory>>20)
	return []item{
		{
			Units: "hertz * 10^6", Description: "Number of virtual CPUs", Name: fmt.Sprintf("%d virtual CPU(s)", cpus),
			ID: instanceCPU, Type: resourceCPU, Quantity: cpus,
		},
		{
			Units: "byte * 2^20", Description: "Memory Size", Name: fmt.Sprintf("%d MB of memory", mib),
			ID: instanceMemory, Type: resourceMemory, Quantity: mib,
		},
		controller,
		{
			OnParent: "0", Name: "disk1", Description: "Disk", Host: "ovf:/disk/vmdisk1",
			ID: instanceDisk, Parent: instanceController, Type: resourceDisk,
		},
		{
			OnParent: "7", Automatic: "true", Connection: "NAT", Name: "ethernet0", Description: "Network adapter",
			ID: instanceNIC, SubType: subType, Type: resourceEthernet,
		},
	}
}

// osID is the operating system's number in CIM_OperatingSystem.OSType.
func osID(osName string) (id int, description string) {
	switch osName {
	case "debian":
		return 96, "Debian_64"
	case "ubuntu":
		return 94, "Ubuntu_64"
	}
	return 101, "Linux_64"
}
