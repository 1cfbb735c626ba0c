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
}

// variantStep is one step of the template as a cell has it.
type variantStep struct {
	step   *template.Step
	name   string
	digest string // of the step alone
	runs   bool
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
