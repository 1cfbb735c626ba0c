package release

import (
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/template"
)

func TestDecide(t *testing.T) {
	want := File{"a.box", 3, strings.Repeat("a", 64)}
	have := func(state string, size int64, digest string) *asset {
		return &asset{github.Asset{Name: "a.box", State: state, SizeBytes: size}, digest}
	}
	other := strings.Repeat("b", 64)
	for name, tc := range map[string]struct {
		have        *asset
		replaceable bool
		want        action
	}{
		"not there":                   {nil, false, put},
		"equal":                       {have("uploaded", 3, want.SHA256), false, skip},
		"equal, replaceable":          {have("uploaded", 3, want.SHA256), true, skip},
		"broken off":                  {have("starter", 0, ""), false, mend},
		"broken off at the full size": {have("starter", 3, want.SHA256), false, mend},
		"unknown state":               {have("open", 3, ""), false, mend},
		"other bytes":                 {have("uploaded", 3, other), false, refuse},
		"other size":                  {have("uploaded", 4, want.SHA256), false, refuse},
		"other bytes, replaceable":    {have("uploaded", 3, other), true, replace},
		"no digest":                   {have("uploaded", 3, ""), false, compare},
		"no digest, replaceable":      {have("uploaded", 3, ""), true, compare},
		"no digest and another size":  {have("uploaded", 4, ""), false, refuse},
	} {
		if got := decide(want, tc.have, tc.replaceable); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func TestMissing(t *testing.T) {
	ref := func(platform string) Ref { return Ref{"golden", platform, "amd64"} }
	list := func(platforms ...string) []Ref {
		var refs []Ref
		for _, p := range platforms {
			refs = append(refs, ref(p))
		}
		return refs
	}
	cell := func(platform string, template, built []Ref, job *Job) *Cell {
		return &Cell{Ref: ref(platform), Template: template, Built: built, Job: job}
	}
	ab := list("a", "b")
	for name, tc := range map[string]struct {
		cells []*Cell
		rule  Completion
		want  []string
	}{
		"whole template":                        {[]*Cell{cell("a", ab, list("a"), nil), cell("b", ab, list("b"), nil)}, WholeTemplate, nil},
		"half of it":                            {[]*Cell{cell("b", ab, list("b"), nil)}, WholeTemplate, []string{"cell golden a amd64"}},
		"half of it is all that there is to be": {[]*Cell{cell("b", ab, list("b"), nil)}, WholeMatrix, nil},
		"what was built with it is waited for":  {[]*Cell{cell("b", ab, ab, nil)}, WholeMatrix, []string{"cell golden a amd64"}},
		"a job is still to come": {
			[]*Cell{cell("a", list("a"), list("a"), &Job{Index: 0, Total: 3}), cell("b", list("b"), list("b"), &Job{Index: 2, Total: 3})},
			WholeTemplate,
			[]string{"job 2 of 3"},
		},
		"and under matrix": {[]*Cell{cell("a", ab, list("a"), &Job{Index: 0, Total: 2, Key: "w"})}, WholeMatrix, []string{"job 2 of 2 of w"}},
		"all jobs":         {[]*Cell{cell("a", ab, list("a"), &Job{Index: 0, Total: 2}), cell("b", ab, list("b"), &Job{Index: 1, Total: 2})}, WholeMatrix, nil},
		"two matrices do not fill each other's places": {
			[]*Cell{cell("a", list("a"), list("a"), &Job{Index: 0, Total: 2, Key: "x"}), cell("b", list("b"), list("b"), &Job{Index: 1, Total: 2, Key: "y"})},
			WholeTemplate,
			[]string{"job 2 of 2 of x", "job 1 of 2 of y"},
		},
		"a matrix that grew": {[]*Cell{cell("a", list("a"), list("a"), &Job{Index: 0, Total: 1}), cell("b", list("b"), list("b"), &Job{Index: 1, Total: 3})}, WholeTemplate, []string{"job 3 of 3"}},
	} {
		if got := missing(tc.cells, tc.rule); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestVersions(t *testing.T) {
	// In the order of Gem::Version.
	ordered := []string{"0.9", "1.0.0-alpha", "1.0.0-rc.1", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.0.1.b2", "1.0.1", "1.2", "1.10", "2"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := compareVersions(a, b); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
	if compareVersions("1.0", "1.0.0") != 0 {
		t.Error("1.0 is not 1.0.0")
	}
	for version, want := range map[string]bool{"1.0.0": false, "1.0.0-rc.1": true, "1.0b1": true, "20260101": false} {
		if prerelease(version) != want {
			t.Errorf("prerelease(%s) is %v", version, !want)
		}
	}
	for version, want := range map[string]bool{"1.0.0": true, "1.0.0-rc.1": true, "v1.0.0": false, "1.0.0+abc": false, "": false, "1.": false} {
		if gemPattern.MatchString(version) != want {
			t.Errorf("%q as a Gem::Version is %v", version, !want)
		}
	}
}

func TestBody(t *testing.T) {
	section := "S\n"
	ours := beginMark + "\n\nS\n\n" + endMark
	for name, tc := range map[string]struct{ body, want string }{
		"empty":                {"", ours + "\n"},
		"ours":                 {pendingBody, ours + "\n"},
		"text before":          {"Notes\n", "Notes\n\n" + ours + "\n"},
		"text around":          {"Notes\n\n" + beginMark + "old" + endMark + "\n\nThanks\n", "Notes\n\n" + ours + "\n\nThanks\n"},
		"written by a browser": {"Notes\r\n\r\n" + beginMark + "\r\nold\r\n" + endMark + "\r\n", "Notes\n\n" + ours + "\n"},
		"an end is missing":    {"Notes " + beginMark + " mine", "Notes " + beginMark + " mine\n\n" + ours + "\n"},
	} {
		got := withSection(tc.body, section)
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if again := withSection(got, section); name != "an end is missing" && again != got {
			t.Errorf("%s: not the same a second time: %q", name, again)
		}
	}
	long := strings.Repeat("x", maxBody)
	if got := withSection("", long, "short"); !strings.Contains(got, "short") || len(got) > maxBody {
		t.Errorf("%d characters", len(got))
	}
	if got := withSection(long, "any"); got != long {
		t.Error("a full body was changed")
	}
	for body, want := range map[string]bool{"": true, pendingBody: true, "\r\n" + pendingBody: true, "mine": false, pendingBody + "mine": false} {
		if ownBody(body) != want {
			t.Errorf("ownBody(%q) is %v", body, !want)
		}
	}
}

func TestSplit(t *testing.T) {
	for name, tc := range map[string]struct {
		size, limit int64
		how         template.Oversize
		parts       []int64
		fails       string
	}{
		"fits":           {10, 10, template.Split, nil, ""},
		"one byte more":  {11, 10, template.Split, []int64{10, 1}, ""},
		"even":           {30, 10, template.Split, []int64{10, 10, 10}, ""},
		"refused":        {11, 10, template.Refuse, nil, "release.oversize"},
		"fits, refusing": {10, 10, template.Refuse, nil, ""},
		"too many parts": {1000, 10, template.Split, nil, "99 parts"},
		"GitHub's limit": {3 << 30, MaxAssetBytes, template.Split, []int64{2<<30 - 1<<20, 1<<30 + 1<<20}, ""},
	} {
		parts, err := split("dir/a", "a", tc.size, tc.limit, tc.how)
		if tc.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fails) || fault.KindOf(err) != fault.Input {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var sizes []int64
		var at int64
		for _, p := range parts {
			if p.offset != at {
				t.Errorf("%s: a part begins at %d, not %d", name, p.offset, at)
			}
			at += p.size
			sizes = append(sizes, p.size)
		}
		if !slices.Equal(sizes, tc.parts) {
			t.Errorf("%s: %v, want %v", name, sizes, tc.parts)
		}
	}
}

func TestCatalogRules(t *testing.T) {
	download := func(name string) string { return "https://x/" + name }
	box := func(platform, kind, arch, provider, version string) *Cell {
		c := &Cell{Ref: Ref{"golden", platform, arch}, Type: kind, Version: version, Vagrant: VagrantPlan{Catalog: true}}
		a := Artifact{}
		a.Name, a.Path, a.Kind, a.Provider, a.SHA256 = c.prefix()+".box", "x", "box", provider, strings.Repeat("a", 64)
		c.Artifacts = []Artifact{a}
		return c
	}
	cells := []*Cell{
		box("libvirt-big", "libvirt", "amd64", "libvirt", "1.0.0"), box("libvirt", "libvirt", "amd64", "libvirt", "1.0.0"),
		box("libvirt", "libvirt", "arm64", "libvirt", "1.0.0"), box("odd", "odd", "amd64", "odd", "v1"), box("nameless", "odd", "amd64", "", "1.0.0"),
	}
	parts := box("vmware", "vmware", "amd64", "vmware_desktop", "1.0.0")
	parts.Artifacts[0].Parts = []File{{}}
	versions, warnings := boxes(append(cells, parts), "golden", download)
	if len(versions) != 1 || len(versions[0].Providers) != 2 {
		t.Fatalf("%+v", versions)
	}
	arm, amd := versions[0].Providers[0], versions[0].Providers[1]
	if arm.Architecture != "arm64" || *arm.DefaultArchitecture || amd.Architecture != "amd64" || !*amd.DefaultArchitecture || amd.URL != "https://x/golden-1.0.0-libvirt-amd64.box" {
		t.Errorf("%+v", versions[0].Providers)
	}
	for _, want := range []string{"golden-1.0.0-libvirt-big-amd64.box", "Vagrant does not take \"v1\"", "is in parts", "names no provider"} {
		if !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning of %s: %q", want, warnings)
		}
	}
	old := &Catalog{Name: "someone/box", Description: "d", Versions: []CatalogVersion{{Version: "0.9"}, {Version: "1.0.0", Status: "old"}}}
	merged := old.with("octo/golden", versions)
	if merged.Name != "someone/box" || len(merged.Versions) != 2 || merged.Versions[0].Version != "1.0.0" || !merged.has(versions) || old.has(versions) {
		t.Errorf("%+v", merged)
	}
	one, _ := merged.JSON()
	two, _ := merged.with("octo/golden", versions).JSON()
	if string(one) != string(two) {
		t.Error("adding a version twice is not adding it once")
	}
}
