package ovf

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

// Package is what an envelope says that decides how its machine boots.
type Package struct {
	Name string // of the machine
	Type string // VirtualSystemType, as "vmx-14" or "virtualbox-2.2"
	// Hardware as far as it is said and known to us; otherwise zero.
	Hardware target.Hardware
	// ControllerType and NICType are the envelope's own words.
	ControllerType, NICType string
	Disks                   []Disk // in the order of the machine's items
}

// Disk is a disk of the machine.
type Disk struct {
	File          string // clean relative name
	Format        string // URI
	SizeBytes     int64  // of the file; 0 when not said
	CapacityBytes int64  // of the virtual disk; 0 when not said
}

// Limits of what Parse believes.
const (
	maxItems = 4096
	maxCPUs  = 4096
)

// Parse reads anyone's envelope.
func Parse(r io.Reader) (Package, error) {
	p, err := parse(r)
	if err != nil {
		return Package{}, fault.Wrap(fault.Input, errors.Join(errors.New("OVF envelope"), err))
	}
	return p, nil
}

// The elements that matter, by local name whatever their prefix. Numbers are
// text: other people's tools put units, properties and blanks there.
type inEnvelope struct {
	XMLName xml.Name
	Files   []struct {
		ID          string `xml:"id,attr"`
		Href        string `xml:"href,attr"`
		Size        string `xml:"size,attr"`
		Compression string `xml:"compression,attr"`
		ChunkSize   string `xml:"chunkSize,attr"`
	} `xml:"References>File"`
	Disks []struct {
		ID       string `xml:"diskId,attr"`
		File     string `xml:"fileRef,attr"`
		Capacity string `xml:"capacity,attr"`
		Units    string `xml:"capacityAllocationUnits,attr"`
		Format   string `xml:"format,attr"`
	} `xml:"DiskSection>Disk"`
	Systems []struct {
		ID       string       `xml:"id,attr"`
		Name     string       `xml:"Name"`
		Hardware []inHardware `xml:"VirtualHardwareSection"`
		Machine  *inMachine   `xml:"Machine"`
	} `xml:"VirtualSystem"`
	Collection *struct{} `xml:"VirtualSystemCollection"`
}

type inHardware struct {
	Type     string   `xml:"System>VirtualSystemType"`
	Items    []inItem `xml:"Item"`
	Storage  []inItem `xml:"StorageItem"`
	Ethernet []inItem `xml:"EthernetPortItem"`
	Config   []struct {
		Key   string `xml:"key,attr"`
		Value string `xml:"value,attr"`
	} `xml:"Config"`
}

type inItem struct {
	Units    string   `xml:"AllocationUnits"`
	Host     []string `xml:"HostResource"`
	ID       string   `xml:"InstanceID"`
	Parent   string   `xml:"Parent"`
	SubType  []string `xml:"ResourceSubType"`
	Type     string   `xml:"ResourceType"`
	Quantity string   `xml:"VirtualQuantity"`
}

type inMachine struct {
	Firmware struct {
		Type string `xml:"type,attr"`
	} `xml:"Hardware>Firmware"`
	Adapters []struct {
		Enabled string `xml:"enabled,attr"`
		Type    string `xml:"type,attr"`
	} `xml:"Hardware>Network>Adapter"`
}

func parse(r io.Reader) (p Package, err error) {
	limited := &io.LimitedReader{R: r, N: maxEnvelopeBytes + 1}
	var in inEnvelope
	if err := xml.NewDecoder(limited).Decode(&in); err != nil {
		return p, err
	}
	switch {
	case limited.N <= 0:
		return p, errors.New("too large")
	case in.XMLName.Local != "Envelope":
		return p, errors.New("the root element is not Envelope")
	case in.Collection != nil || len(in.Systems) > 1:
		return p, errors.New("it holds a collection of machines; take one with a single machine")
	case len(in.Systems) == 0:
		return p, errors.New("it holds no machine")
	}
	system := in.Systems[0]
	if p.Name = strings.TrimSpace(system.Name); p.Name == "" {
		p.Name = system.ID
	}
	p.Hardware.Firmware = target.BIOS
	var items []inItem
	for _, h := range system.Hardware[:min(1, len(system.Hardware))] { // alternatives follow the first
		p.Type = strings.TrimSpace(h.Type)
		items = append(append(append(items, h.Items...), h.Storage...), h.Ethernet...)
		for _, c := range h.Config {
			if strings.EqualFold(c.Key, "firmware") && strings.EqualFold(c.Value, "efi") {
				p.Hardware.Firmware = target.UEFI
			}
		}
	}
	if len(items) > maxItems {
		return p, errors.New("too many items of hardware")
	}
	files, err := in.disks()
	if err != nil {
		return p, err
	}
	p.items(items, files)
	if system.Machine != nil {
		p.machine(*system.Machine)
	}
	if len(p.Disks) == 0 {
		return p, errors.New("the machine has no disk")
	}
	return p, nil
}

// disks returns the disks that have a file, by disk id and by file id.
func (in *inEnvelope) disks() (map[string]Disk, error) {
	found := map[string]Disk{}
	for _, d := range in.Disks {
		for _, f := range in.Files {
			if f.ID != d.File || d.File == "" {
				continue
			}
			name, err := url.PathUnescape(f.Href)
			clean := path.Clean(name)
			switch {
			case err != nil || name == "" || path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") ||
				strings.Contains(name, "://") || strings.ContainsAny(name, "\\\x00"):
				return nil, errors.New("the disk's file " + strconv.Quote(f.Href) + " is not beside the envelope")
			case f.Compression != "" && f.Compression != "identity" || f.ChunkSize != "":
				return nil, errors.New("compressed and chunked files are not supported")
			}
			fileBytes, _ := strconv.ParseInt(strings.TrimSpace(f.Size), 10, 64)
			found["/disk/"+d.ID] = Disk{
				File: clean, Format: d.Format, SizeBytes: max(fileBytes, 0),
				CapacityBytes: quantity(d.Capacity, d.Units, 1),
			}
			found["/file/"+f.ID] = found["/disk/"+d.ID]
		}
	}
	return found, nil
}

// items reads the hardware.
func (p *Package) items(items []inItem, files map[string]Disk) {
	controllers := map[string]inItem{}
	parent := ""
	for _, it := range items {
		switch strings.TrimSpace(it.Type) {
		case strconv.Itoa(resourceCPU):
			p.Hardware.CPUs = int(min(quantity(it.Quantity, "", 1), maxCPUs))
		case strconv.Itoa(resourceMemory):
			p.Hardware.Memory = size.Bytes(quantity(it.Quantity, it.Units, 1<<20))
		case strconv.Itoa(resourceEthernet):
			if p.NICType == "" {
				p.NICType = first(it.SubType)
				p.Hardware.NIC = knownNIC(p.NICType)
			}
		case strconv.Itoa(resourceIDE), strconv.Itoa(resourceSCSI), strconv.Itoa(resourceStorage):
			controllers[strings.TrimSpace(it.ID)] = it
		case strconv.Itoa(resourceDisk):
			disk, ok := files[strings.TrimPrefix(first(it.Host), "ovf:")]
			if !ok {
				continue // an empty disk
			}
			if p.Disks = append(p.Disks, disk); len(p.Disks) == 1 {
				parent = strings.TrimSpace(it.Parent)
			}
		}
	}
	if c, ok := controllers[parent]; ok {
		p.ControllerType = first(c.SubType)
		p.Hardware.Controller = knownController(strings.TrimSpace(c.Type), p.ControllerType)
	}
}

// machine reads what VirtualBox says better in its own words.
func (p *Package) machine(m inMachine) {
	if strings.HasPrefix(strings.ToUpper(m.Firmware.Type), "EFI") {
		p.Hardware.Firmware = target.UEFI
	}
	for _, a := range m.Adapters {
		if !strings.EqualFold(a.Enabled, "true") {
			continue
		}
		for nic, names := range vboxNICs {
			if a.Type == names.kind {
				p.NICType, p.Hardware.NIC = a.Type, nic
			}
		}
		return
	}
}

func knownNIC(subType string) target.NIC {
	switch strings.ToLower(subType) {
	case "e1000":
		return target.E1000
	case "e1000e":
		return target.E1000E
	case "vmxnet3":
		return target.VMXNet3
	case "virtio", "virtio-net":
		return target.VirtioNet
	}
	return ""
}

func knownController(resource, subType string) target.Controller {
	subType = strings.ToLower(subType)
	switch {
	case resource == strconv.Itoa(resourceIDE):
		return target.IDE
	case strings.Contains(subType, "nvme"):
		return target.NVMe
	case strings.Contains(subType, "ahci"), strings.Contains(subType, "sata"):
		return target.AHCI
	case subType == "virtualscsi":
		return target.PVSCSI
	case subType == "lsilogic":
		return target.LSILogic
	case strings.Contains(subType, "virtio"):
		return target.VirtioSCSI
	}
	return ""
}

func first(values []string) string {
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			return v
		}
	}
	return ""
}

// quantity multiplies a number with its unit: DSP0004, annex C.1,
// "programmatic units", and the older words. It returns 0 for what it does not
// understand or what does not fit.
func quantity(number, units string, defaultUnit int64) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 {
		return 0
	}
	if strings.TrimSpace(units) == "" {
		return times(n, defaultUnit)
	}
	for factor := range strings.SplitSeq(strings.ToLower(units), "*") {
		n = times(n, unit(strings.TrimSpace(factor)))
	}
	return n
}

func unit(word string) int64 {
	switch strings.TrimSuffix(word, "s") {
	case "byte":
		return 1
	case "kilobyte", "kb", "kib", "kibibyte":
		return 1 << 10
	case "megabyte", "mb", "mib", "mebibyte":
		return 1 << 20
	case "gigabyte", "gb", "gib", "gibibyte":
		return 1 << 30
	}
	base, exponent, power := strings.Cut(word, "^")
	b, err := strconv.ParseInt(strings.TrimSpace(base), 10, 64)
	if err != nil || b <= 0 {
		return 0
	}
	if !power {
		return b
	}
	e, err := strconv.ParseInt(strings.TrimSpace(exponent), 10, 64)
	if err != nil || e < 0 || e > 62 {
		return 0
	}
	n := int64(1)
	for range e {
		n = times(n, b)
	}
	return n
}

// times multiplies; 0 is "does not fit".
func times(a, b int64) int64 {
	if a <= 0 || b <= 0 || a > math.MaxInt64/b {
		return 0
	}
	return a * b
}
