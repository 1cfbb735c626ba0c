package vagrantbox

import (
	"bytes"
	"encoding/json"

	"github.com/org/imagebuild-action/internal/fault"
)

// MetadataName is the one member that Vagrant itself demands.
const MetadataName = "metadata.json"

// maxMetadataBytes bounds metadata.json and imagebuild.json.
const maxMetadataBytes = 1 << 20

// gib is Vagrant's "GB".
const gib = 1 << 30

// Metadata is metadata.json: "provider" for Vagrant, "architecture" for
// Vagrant 2.4 and newer, and what vagrant-libvirt wants to know of the disks.
type Metadata struct {
	Provider     string `json:"provider"`
	Architecture string `json:"architecture,omitempty"`
	// Format and VirtualSizeGB describe box.img in version 1 of the libvirt
	// layout.
	Format        string `json:"format,omitempty"`
	VirtualSizeGB int64  `json:"virtual_size,omitempty"`
	// Disks replaces both in version 2.
	Disks []Disk `json:"disks,omitempty"`
}

// Disk is one disk of a version 2 libvirt box.
type Disk struct {
	Path   string `json:"path"`
	Format string `json:"format,omitempty"`
}

// WholeGB is a virtual size in GB, rounded up: vagrant-libvirt makes a volume
// of that size, which must not be smaller than the disk.
func WholeGB(sizeBytes int64) int64 { return (sizeBytes + gib - 1) / gib }

// JSON renders the file.
func (m Metadata) JSON() ([]byte, error) { return encode(m) }

// ParseMetadata reads anyone's metadata.json; keys that it does not know are
// left alone.
func ParseMetadata(content []byte) (Metadata, error) {
	var raw struct {
		Provider     string          `json:"provider"`
		Architecture json.RawMessage `json:"architecture"`
		Format       json.RawMessage `json:"format"`
		VirtualSize  json.RawMessage `json:"virtual_size"`
		Disks        json.RawMessage `json:"disks"`
	}
	if err := json.Unmarshal(content, &raw); err != nil {
		return Metadata{}, fault.Errorf(fault.Input, "%s: %w", MetadataName, err)
	}
	if raw.Provider == "" {
		return Metadata{}, fault.Errorf(fault.Input, "%s names no provider", MetadataName)
	}
	m := Metadata{Provider: raw.Provider}
	// The rest is read only by some providers, and boxes in the field have
	// other types there; what does not fit says nothing.
	_ = json.Unmarshal(raw.Architecture, &m.Architecture)
	_ = json.Unmarshal(raw.Format, &m.Format)
	_ = json.Unmarshal(raw.VirtualSize, &m.VirtualSizeGB)
	if json.Unmarshal(raw.Disks, &m.Disks) != nil {
		m.Disks = nil
	}
	return m, nil
}

// encode renders v for people, without HTML's escapes.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(v)
	return out.Bytes(), err
}
