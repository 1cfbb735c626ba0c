package template

import (
	"slices"
	"strings"
)

// elsewhere takes a template whose source is where its platforms are: it has no
// other platforms, and nothing that is about what is made here.
func (d *decoder) elsewhere(t *Template) {
	kind := findKind(d.file.registry.Sources, t.Source.Kind)
	if kind == nil || len(kind.Platforms) == 0 {
		return
	}
	t.Engine, t.Disk, t.GuestTools = Instance, Disk{}, false
	platforms := mapValue(d.file.root, "platforms")
	for _, each := range t.Platforms {
		if each.Kind != "" && !slices.Contains(kind.Platforms, each.Kind) {
			d.add(keyOf(platforms, each.Name), "platforms."+each.Name, "a source of kind %s is for platforms of type %s alone, and this one is of type %s; give it a template of its own",
				kind.Name, strings.Join(kind.Platforms, " or "), each.Kind)
		}
	}
	for _, key := range []struct{ name, why string }{
		{"engine", "the steps run in an instance of the source"},
		{"disk", "the disk is the source's own"},
		{"guest_tools", "they are put into new systems only, and the source is one that is there already"},
	} {
		if mapValue(d.file.root, key.name) != nil {
			d.add(keyOf(d.file.root, key.name), key.name, "with a source of kind %s %s; leave this out", kind.Name, key.why)
		}
	}
}
