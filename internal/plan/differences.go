package plan

import (
	"slices"

	"github.com/org/imagebuild-action/internal/template"
)

// variant is what one cell makes of the template.
type variant struct {
	platform, arch string
	source         string // digest
	steps          []variantStep
	varies         bool // two builds of it have different bytes
}

// variantStep is one step of the template as a cell has it.
type variantStep struct {
	step   *template.Step
	name   string
	digest string // of the step alone
	runs   bool
}

// Varies tells whether another build of the tree may have other bytes: the disk
// is kept, and an installer or a step wrote to it in a machine.
func (t *Tree) Varies() bool {
	keeper, ok := t.Source.Config.(template.DiskKeeper)
	return ok && t.KeepsDisk && (len(t.Steps) > 0 || !keeper.HasDisk())
}

// variable lists the platforms whose disks are such.
func variable(variants []variant) []string {
	var platforms []string
	for _, v := range variants {
		if v.varies {
			platforms = append(platforms, v.platform)
		}
	}
	slices.Sort(platforms)
	return slices.Compact(platforms)
}

// differences lists what the template declares to differ between platforms of
// the same architecture, whether or not all of them are built now. All
// variants have the same steps, because they come from one template.
func differences(variants []variant) []Difference {
	if len(variants) == 0 {
		return nil
	}
	var all []Difference
	// own lists the platforms whose content is not that of the first platform
	// of their architecture.
	own := func(of func(variant) string) []string {
		byArch := map[string]string{}
		var differing []string
		for _, v := range variants {
			content := of(v)
			first, found := byArch[v.arch]
			switch {
			case content == "": // not there at all
			case !found:
				byArch[v.arch] = content
			case first != content:
				differing = append(differing, v.platform)
			}
		}
		slices.Sort(differing)
		return slices.Compact(differing)
	}
	if platforms := own(func(v variant) string { return v.source }); len(platforms) > 0 {
		all = append(all, Difference{Step: "source", Field: "source", Platforms: platforms, Reason: "the source, the engine or the disk depends on the platform"})
	}
	if platforms := variable(variants); len(platforms) > 1 {
		all = append(all, Difference{Step: "disk", Field: "source", Platforms: platforms, Reason: "the disk is kept as a machine leaves it, so platforms that are built apart differ in what the machine wrote: times, ids, logs"})
	}
	for i, first := range variants[0].steps {
		var with, without []string
		for _, v := range variants {
			if v.steps[i].runs {
				with = append(with, v.platform)
			} else {
				without = append(without, v.platform)
			}
		}
		slices.Sort(with)
		if len(without) > 0 {
			key := "only"
			if len(first.step.Except) > 0 {
				key = "except"
			}
			all = append(all, Difference{Step: first.name, Field: first.step.Field, Platforms: slices.Compact(with), Reason: "the step has " + key})
		}
		content := func(v variant) string {
			if !v.steps[i].runs {
				return ""
			}
			return v.steps[i].digest
		}
		if platforms := own(content); len(platforms) > 0 {
			all = append(all, Difference{Step: first.name, Field: first.step.Field, Platforms: platforms, Reason: "the step's content depends on the platform"})
		}
	}
	return all
}
