package release

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
)

// maxCatalogBytes bounds a catalog that we read.
const maxCatalogBytes = 16 << 20

// catalogAsset is the name of an image's catalog on a release.
func catalogAsset(image string) string { return image + "-vagrant.json" }

// CatalogPath is where an image's catalog lies on the Pages branch.
func CatalogPath(image string) string { return "vagrant/" + image + ".json" }

// Catalog is what Vagrant reads to find the versions of a box.
// Source: developer.hashicorp.com/vagrant/docs/boxes/format, Box Metadata.
type Catalog struct {
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Versions    []CatalogVersion `json:"versions"`
}

// CatalogVersion is one version of a box.
type CatalogVersion struct {
	Version   string            `json:"version"`
	Status    string            `json:"status,omitempty"`
	Providers []CatalogProvider `json:"providers"`
}

// CatalogProvider is one box.
type CatalogProvider struct {
	Name                string `json:"name"`
	URL                 string `json:"url"`
	ChecksumType        string `json:"checksum_type,omitempty"`
	Checksum            string `json:"checksum,omitempty"`
	Architecture        string `json:"architecture,omitempty"`
	DefaultArchitecture *bool  `json:"default_architecture,omitempty"` // nil where others wrote the catalog
}

// ParseCatalog reads a catalog that others may have written.
func ParseCatalog(text []byte) (*Catalog, error) {
	var c Catalog
	if len(text) > maxCatalogBytes {
		return nil, fault.Errorf(fault.Input, "the Vagrant catalog has more than %d bytes", maxCatalogBytes)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fault.Errorf(fault.Input, "the Vagrant catalog: %w", err)
	}
	if c.Name == "" {
		return nil, fault.Errorf(fault.Input, "the Vagrant catalog names no box")
	}
	for _, v := range c.Versions {
		if !gemPattern.MatchString(v.Version) {
			return nil, fault.Errorf(fault.Input, "the Vagrant catalog has the version %q, which Vagrant does not take", v.Version)
		}
	}
	return &c, nil
}

// JSON renders the catalog.
func (c *Catalog) JSON() ([]byte, error) { return encode(c) }

// boxes is one image's version for a catalog, with what had to be left out.
func boxes(cells []*Cell, name string, download func(asset string) string) (versions []CatalogVersion, warnings []string) {
	for _, c := range cells {
		if c.Name != name || !c.Vagrant.Catalog {
			continue
		}
		for _, a := range c.Artifacts {
			switch {
			case a.Kind != image.Box || a.Path == "":
				continue
			case len(a.Parts) > 0:
				warnings = append(warnings, fmt.Sprintf("%s is in parts, which Vagrant cannot join: it is not in the catalog", a.Name))
				continue
			case a.Provider == "":
				warnings = append(warnings, fmt.Sprintf("%s names no provider: it is not in the catalog", a.Name))
				continue
			case !gemPattern.MatchString(c.Version):
				warnings = append(warnings, fmt.Sprintf("%s: Vagrant does not take %q for a version (it wants one like 1.2.3 or 1.2.3-rc.1): it is not in the catalog", a.Name, c.Version))
				continue
			}
			i := slices.IndexFunc(versions, func(v CatalogVersion) bool { return v.Version == c.Version })
			if i < 0 {
				i = len(versions)
				versions = append(versions, CatalogVersion{Version: c.Version})
			}
			v := &versions[i]
			box := CatalogProvider{Name: a.Provider, URL: download(a.Name), ChecksumType: "sha256", Checksum: a.SHA256, Architecture: c.Arch}
			if taken := slices.IndexFunc(v.Providers, func(p CatalogProvider) bool { return p.Name == box.Name && p.Architecture == box.Architecture }); taken >= 0 {
				// The platform that is called as its type stands for it; else the first.
				out := box.URL
				if c.Platform == c.Type {
					out, v.Providers[taken] = v.Providers[taken].URL, box
				}
				warnings = append(warnings, fmt.Sprintf("two boxes for %s on %s, and Vagrant knows no third name: %s is not in the catalog", box.Name, box.Architecture, out[strings.LastIndex(out, "/")+1:]))
				continue
			}
			v.Providers = append(v.Providers, box)
		}
	}
	for i := range versions {
		versions[i].arrange()
	}
	return versions, warnings
}

// arrange sorts the boxes of a version. Vagrant before 2.4 knows nothing of
// architectures and takes the last box of a provider, so amd64 comes last;
// later ones take the default where nothing else fits.
func (v *CatalogVersion) arrange() {
	last := func(p CatalogProvider) int {
		if p.Architecture == "amd64" {
			return 1
		}
		return 0
	}
	slices.SortFunc(v.Providers, func(a, b CatalogProvider) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(last(a), last(b)), cmp.Compare(a.Architecture, b.Architecture))
	})
	for i := range v.Providers {
		isDefault := i+1 == len(v.Providers) || v.Providers[i+1].Name != v.Providers[i].Name
		v.Providers[i].DefaultArchitecture = &isDefault
	}
}

// with returns the catalog with these versions in place of its own of the same
// number, newest first. Doing it again changes nothing. A nil catalog is a new
// one.
func (c *Catalog) with(name string, versions []CatalogVersion) *Catalog {
	merged := &Catalog{Name: name}
	if c != nil {
		merged.Name, merged.Description = c.Name, c.Description // boxes that are installed go by the name
		merged.Versions = slices.DeleteFunc(slices.Clone(c.Versions), func(v CatalogVersion) bool {
			return slices.ContainsFunc(versions, func(own CatalogVersion) bool { return own.Version == v.Version })
		})
	}
	merged.Versions = append(merged.Versions, versions...)
	slices.SortStableFunc(merged.Versions, func(a, b CatalogVersion) int {
		return cmp.Or(compareVersions(b.Version, a.Version), cmp.Compare(b.Version, a.Version))
	})
	return merged
}

// has tells whether the catalog lists these versions just so.
func (c *Catalog) has(versions []CatalogVersion) bool {
	for _, own := range versions {
		i := slices.IndexFunc(c.Versions, func(v CatalogVersion) bool { return v.Version == own.Version })
		if i < 0 || !reflect.DeepEqual(c.Versions[i].Providers, own.Providers) {
			return false
		}
	}
	return true
}
