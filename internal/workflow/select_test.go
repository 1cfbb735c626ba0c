package workflow

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSelect(t *testing.T) {
	known := Known{Platforms: []string{"virtualbox", "libvirt"}, Variables: []string{"release", "debug", "list", "platform"}}
	for name, tt := range map[string]struct {
		matrix string
		in     Inputs
		want   Choice
		says   string
	}{
		"no matrix":       {matrix: "", want: Choice{}},
		"null":            {matrix: "null\n", want: Choice{}},
		"an empty object": {matrix: " {\n}\n", want: Choice{}},
		"cell and variables": {
			matrix: "{\n  \"platform\": \"libvirt\",\n  \"arch\": \"arm64\",\n  \"release\": 12.10,\n  \"debug\": true,\n  \"list\": [1, {\"a\": \"<\"}],\n  \"other\": null\n}",
			want: Choice{
				Platforms: []string{"libvirt"}, Arch: "arm64", Vars: map[string]string{"release": "12.1", "debug": "true", "list": `[1,{"a":"<"}]`},
				Matrix: map[string]string{"platform": "libvirt", "arch": "arm64", "release": "12.1", "debug": "true", "list": `[1,{"a":"<"}]`, "other": ""},
			},
		},
		"inputs win": {
			matrix: `{"platform":"xen","arch":"riscv64","release":"a","debug":1}`,
			in:     Inputs{Platforms: []string{"virtualbox"}, Arch: "amd64", Vars: map[string]string{"release": "b"}},
			want: Choice{
				Platforms: []string{"virtualbox"}, Arch: "amd64", Vars: map[string]string{"release": "b", "debug": "1"},
				Matrix: map[string]string{"platform": "xen", "arch": "riscv64", "release": "a", "debug": "1"},
			},
		},
		"null sets nothing":     {matrix: `{"release":null,"platform":null}`, want: Choice{Matrix: map[string]string{"release": "", "platform": ""}}},
		"unknown platform":      {matrix: `{"platform":"xen"}`, says: `matrix.platform "xen" is not a platform of the template; it has virtualbox, libvirt`},
		"unknown input":         {in: Inputs{Platforms: []string{"xen"}}, says: `"xen" is not a platform of the template`},
		"a list of platforms":   {matrix: `{"platform":["libvirt"]}`, says: "matrix.platform: want text, found a list"},
		"a number for an arch":  {matrix: `{"arch":64}`, says: "matrix.arch: want text, found the number 64"},
		"not JSON":              {matrix: `{"a"`, says: "matrix: not JSON"},
		"not an object":         {matrix: `[1]`, says: "matrix: want a JSON object, found a list"},
		"two objects":           {matrix: `{} {}`, says: "text after its end"},
		"no end of lists in it": {matrix: strings.Repeat("[", 500), says: "too many lists"},
	} {
		t.Run(name, func(t *testing.T) {
			matrix, err := ParseMatrix(tt.matrix)
			var got Choice
			if err == nil {
				got, err = Select(matrix, tt.in, known)
			}
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("got %v, want %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []*map[string]string{&tt.want.Vars, &tt.want.Matrix} {
				if *m == nil {
					*m = map[string]string{}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if name, err := Template(Object{{"template", "a.yml"}}, Inputs{}); name != "a.yml" || err != nil {
		t.Error(name, err)
	}
	if name, _ := Template(Object{{"template", "a.yml"}}, Inputs{Template: "b.yml"}); name != "b.yml" {
		t.Error(name)
	}
}

func TestParseVariables(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"":                         {},
		"a=1\n\n# no\n b = x=y \n": {"a": "1", "b": "x=y"},
		"a: 1.10\nb: 'x: y'\n":     {"a": "1.10", "b": "x: y"},
		"url=http://x: y":          {"url": "http://x: y"},
	} {
		got, err := ParseVariables(text)
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"a", "a b=c", "=x", "a: [1]", "1: 2"} {
		if got, err := ParseVariables(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
