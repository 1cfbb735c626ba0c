package vmdk

import (
	"bytes"
	"fmt"
	"strings"
)

// Adapter types that a descriptor may name. VDF, "The Disk Database".
const (
	AdapterIDE      = "ide"
	AdapterBusLogic = "buslogic"
	AdapterLSILogic = "lsilogic" // also for LSI SAS, paravirtual SCSI, SATA and NVMe
)

// DefaultHWVersion is the virtual hardware that a descriptor asks for: ESXi
// 5.5, which is the oldest that anyone still has, so that nobody is refused.
const DefaultHWVersion = "10"

// descriptor makes the embedded text, padded with zeros to its sectors. It
// holds no path, time or random number.
func descriptor(createType string, sizeBytes int64, cid uint32, fileName, adapter, hwVersion string) ([]byte, error) {
	if fileName == "" {
		fileName = "disk.vmdk"
	}
	for _, c := range fileName {
		// The descriptor has no way to quote, and no encoding that everyone reads.
		if c < 0x20 || c > 0x7e || strings.ContainsRune(`"/\`, c) {
			return nil, fmt.Errorf("%q cannot be a file name in a VMDK descriptor; use printable ASCII without quotes and slashes", fileName)
		}
	}
	if hwVersion == "" {
		hwVersion = DefaultHWVersion
	}
	if strings.Trim(hwVersion, "0123456789") != "" {
		return nil, fmt.Errorf("%q is not a virtual hardware version; write a number like %s", hwVersion, DefaultHWVersion)
	}
	// 0xffffffff means that there is no parent, and so cannot name a disk.
	if cid >= 0xfffffffe {
		cid -= 2
	}
	heads, most := int64(255), int64(1<<31)
	switch adapter {
	case "":
		adapter = AdapterLSILogic
	case AdapterIDE:
		heads, most = 16, 16383
	case AdapterBusLogic, AdapterLSILogic:
	default:
		return nil, fmt.Errorf("%q is not a disk adapter; write %s, %s or %s", adapter, AdapterIDE, AdapterBusLogic, AdapterLSILogic)
	}
	const track = 63
	sectors := sizeBytes / sector
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="%s"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "%s"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "%s"
`, cid, createType, sectors, fileName, hwVersion, min(sectors/(heads*track), most), heads, track, adapter)
	const room = descriptorSize * sector
	if b.Len() >= room {
		return nil, fmt.Errorf("file name of %d characters does not fit into a VMDK descriptor", len(fileName))
	}
	return append(b.Bytes(), make([]byte, room-b.Len())...), nil
}
