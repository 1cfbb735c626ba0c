package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/plan"
)

const cacheTemplate = `name: golden
version: "1.0.0"
variables:
  zone: {default: UTC}
source:
  bootstrap: {distribution: debian, release: bookworm, packages: [linux-image-amd64]}
provision:
  - name: One
    shell: one.sh
  - shell: echo "$ZONE"
    env: {ZONE: "${{ var.zone }}"}
test:
  - shell: "true"
platforms:
  virtualbox: {}
  libvirt: {}
`

func cachePlan(t *testing.T, text, script string, change func(*Options)) *plan.Plan {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, DefaultTemplate)
	for name, content := range map[string]string{path: text, filepath.Join(dir, "one.sh"): script} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Template: path}
	if change != nil {
		change(&o)
	}
	p, err := Plan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCacheKeyChangesWhenItMust(t *testing.T) {
	text := strings.ReplaceAll(cacheTemplate, "one.sh", "./one.sh")
	base := NewCacheKey(cachePlan(t, text, "echo 1\n", nil))
	if base.Restore != "imagebuild-1-amd64-golden-" || !strings.HasPrefix(base.Key, base.Restore) || len(base.Key) != len(base.Restore)+32 {
		t.Fatalf("got %+v", base)
	}
	replaced := func(old, changed string) string {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in the template", old)
		}
		return strings.Replace(text, old, changed, 1)
	}
	for name, test := range map[string]struct {
		text, script string
		change       func(*Options)
		same         bool
	}{
		"nothing":             {text, "echo 1\n", nil, true},
		"one platform":        {text, "echo 1\n", func(o *Options) { o.Platforms = []string{"libvirt"} }, true},
		"the version":         {text, "echo 1\n", func(o *Options) { o.Version = "2.0.0" }, true},
		"a step's name":       {replaced("name: One", "name: Uno"), "echo 1\n", nil, true},
		"a test":              {replaced(`shell: "true"`, `shell: "false"`), "echo 1\n", nil, true},
		"a platform's memory": {replaced("libvirt: {}", "libvirt: {memory: 2GiB}"), "echo 1\n", nil, true},
		"a script":            {text, "echo 2\n", nil, false},
		"a step":              {replaced(`echo "$ZONE"`, `echo $ZONE`), "echo 1\n", nil, false},
		"a variable":          {text, "echo 1\n", func(o *Options) { o.Vars = map[string]string{"zone": "CET"} }, false},
		"the source":          {replaced("[linux-image-amd64]", "[linux-image-amd64, jq]"), "echo 1\n", nil, false},
		"one step more":       {replaced("test:\n", "  - shell: \"true\"\ntest:\n"), "echo 1\n", nil, false},
		"one step less":       {replaced("  - name: One\n    shell: ./one.sh\n", ""), "echo 1\n", nil, false},
		"a step for one":      {replaced("shell: ./one.sh", "shell: ./one.sh\n    only: [libvirt]"), "echo 1\n", nil, false},
		"the engine":          {text + "engine: vm\n", "echo 1\n", nil, false},
	} {
		got := NewCacheKey(cachePlan(t, test.text, test.script, test.change))
		if (got.Key == base.Key) != test.same || got.Restore != base.Restore {
			t.Errorf("%s: %+v, was %+v", name, got, base)
		}
	}
}

func TestCacheKeyOfSeveralImages(t *testing.T) {
	text := strings.ReplaceAll(cacheTemplate, "one.sh", "./one.sh")
	one := cachePlan(t, text, "echo 1\n", nil)
	other := cachePlan(t, strings.Replace(text, "golden", "web", 1), "echo 2\n", nil)
	both, turned := NewCacheKey(one, other), NewCacheKey(other, one)
	if both != turned || both.Restore != "imagebuild-1-amd64-2-images-" {
		t.Errorf("%+v, %+v", both, turned)
	}
	if none := NewCacheKey(); none.Key == "" || strings.ContainsAny(both.Key, ", ") {
		t.Errorf("%+v", none)
	}
}
