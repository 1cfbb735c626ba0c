package template

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
)

func parse(t *testing.T, text string) *File {
	t.Helper()
	file, err := Parse(filepath.Join(t.TempDir(), "imagebuild.yml"), []byte(text), testRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

const least = "name: least\nsource: {bootstrap: {release: bookworm}}\nplatforms: {libvirt: {}}\n"

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yml"), testRegistry()); !errors.Is(err, fs.ErrNotExist) || fault.KindOf(err) != fault.Input {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(dir, testRegistry()); err == nil || fault.KindOf(err) != fault.Input {
		t.Errorf("folder: %v", err)
	}
	large := filepath.Join(dir, "large.yml")
	for size, want := range map[int]bool{MaxBytes: true, MaxBytes + 1: false} {
		text := least + strings.Repeat("#", size-len(least))
		if err := os.WriteFile(large, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(large, testRegistry()); (err == nil) != want {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestScope(t *testing.T) {
	text := `name: n
variables: {a: {default: d, env: A}, b: {env: B, required: false}}
source: {bootstrap: {release: "${{ var.a }}-${{ var.b || 'none' }}-${{ image.version }}-${{ image.tag || 'untagged' }}-${{ image.arch }}-${{ platform.name }}-${{ platform.type }}-${{ matrix.m || '' }}"}}
platforms: {vm: {type: vmware, arch: [arm64]}, libvirt: {}}
`
	env := func(name string) (string, bool) { return map[string]string{"A": "from-env", "B": ""}[name], true }
	for _, tt := range []struct {
		name  string
		scope Scope
		want  string
	}{
		{"defaults", Scope{}, "d-none-0.0.0-untagged-arm64-vm-vmware-"},
		{"environment", Scope{Env: env}, "from-env-none-0.0.0-untagged-arm64-vm-vmware-"},
		{"arguments win", Scope{Env: env, Vars: map[string]string{"a": "arg", "b": "B"}}, "arg-B-0.0.0-untagged-arm64-vm-vmware-"},
		{"all", Scope{Version: "1.2.3", Tag: "v1.2.3", Arch: "amd64", Platform: Target{"libvirt", "libvirt"}, Matrix: map[string]string{"m": "x"}}, "d-none-1.2.3-v1.2.3-amd64-libvirt-libvirt-x"},
	} {
		got, err := parse(t, text).Resolve(tt.scope)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if release := got.Source.Value.(*testBootstrap).Release; release != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, release, tt.want)
		}
	}
	for want, scope := range map[string]Scope{
		`--var c: the template has no such variable`: {Vars: map[string]string{"c": "x"}},
		`"v1", given from outside, is not a version`: {Version: "v1"},
	} {
		if _, err := parse(t, text).Resolve(scope); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestSensitiveIsNeverSaid(t *testing.T) {
	text := "variables: {t: {env: T, sensitive: true}}\n" + least +
		"provision:\n  - {shell: \"scripts/${{ var.t }}.sh\", only: [\"${{ var.t }}\"]}\n  - file: {destination: x, source: \"${{ env.T }}\"}\n"
	for _, set := range []*redact.Set{nil, {}} {
		_, err := parse(t, text).Resolve(Scope{Redact: set, Env: func(string) (string, bool) { return "hunter22", true }})
		if err == nil || strings.Contains(err.Error(), "hunter22") || !strings.Contains(err.Error(), redact.Mask) {
			t.Errorf("got %v", err)
		}
		if set != nil && set.String("hunter22") != redact.Mask {
			t.Error("the value was not registered")
		}
	}
}

func TestOutsidePaths(t *testing.T) {
	file := parse(t, least+"provision:\n  - shell: {script: ../outside.sh}\n")
	if _, err := file.Resolve(Scope{}); err == nil || !strings.Contains(err.Error(), `:5:21: provision[0].shell.script: "../outside.sh" does not exist`) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(file.Abs("../outside.sh"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Resolve(Scope{}); err != nil {
		t.Error(err)
	}
}

func TestPlatformNames(t *testing.T) {
	for text, want := range map[string]string{
		"platforms: {b: {}, a: {}}": "b a", "platforms: [x]": "", "name: x": "", "just text": "",
	} {
		if got := strings.Join(parse(t, text).PlatformNames(), " "); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestRegistryCheck(t *testing.T) {
	type unsupported struct {
		Field float64 `yaml:"field" doc:"A field."`
	}
	type undocumented struct {
		Field string `yaml:"field"`
	}
	type taken struct {
		Arch string `yaml:"arch" doc:"A field."`
	}
	type twice struct {
		A string `yaml:"a" doc:"A field."`
		B string `yaml:"a" doc:"A field."`
	}
	of := func(v any) Kind { return Kind{Name: "kind", Doc: "A kind.", New: func() any { return v }} }
	for name, reg := range map[string]Registry{
		"unsupported":  {Steps: []Kind{of(&unsupported{})}},
		"undocumented": {Steps: []Kind{of(&undocumented{})}},
		"taken":        {Platforms: []Kind{of(&taken{})}},
		"two fields":   {Sources: []Kind{of(&twice{})}},
		"not pointer":  {Sources: []Kind{of(testShell{})}},
		"nil":          {Sources: []Kind{of(nil)}},
		"two kinds":    {Sources: []Kind{of(&testShell{}), of(&testShell{})}},
		"common key":   {Steps: []Kind{{Name: "timeout", Doc: "A kind.", New: func() any { return &testShell{} }}}},
	} {
		if err := reg.Check(); err == nil || fault.KindOf(err) != fault.Bug {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := Schema(reg); err == nil {
			t.Errorf("%s: has a schema", name)
		}
	}
	if err := testRegistry().Check(); err != nil {
		t.Error(err)
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"name", "provision", "platforms", "guest_tools"}
	for written, want := range map[string]string{
		"nmae": "name", "Name": "name", "provisioning": "provision", "platform": "platforms", "guest-tools": "guest_tools", "zzzzzzzz": "",
	} {
		got := suggest(written, known)
		if want != "" && got != `; did you mean "`+want+`"?` || want == "" && !strings.HasPrefix(got, "; known are name, ") {
			t.Errorf("%s: got %s", written, got)
		}
	}
}

func TestDocumentPatterns(t *testing.T) {
	for _, f := range fieldsOf(reflect.TypeFor[document]()) {
		if want := map[string]string{"name": NamePattern, "version": VersionPattern}[f.key]; f.pattern != want {
			t.Errorf("%s: the tag says %s, the constant %s", f.key, f.pattern, want)
		}
	}
}

func TestSchemaIsStable(t *testing.T) {
	first, err := Schema(testRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if again, _ := Schema(testRegistry()); !bytes.Equal(first, again) {
			t.Fatal("two calls, two schemas")
		}
	}
}
