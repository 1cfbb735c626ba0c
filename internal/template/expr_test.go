package template

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
)

// expand resolves one string in a template that has everything to look up.
func expand(t *testing.T, public bool, text string) (scalar, fault.List) {
	t.Helper()
	var faults fault.List
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: text, Line: 1, Column: 1, Style: yaml.LiteralStyle}
	d := decoder{file: &File{path: "t.yml", lines: [][]rune{{'|'}}}, public: public, faults: &faults}
	for line := range strings.Lines(text) {
		d.file.lines = append(d.file.lines, []rune(strings.TrimSuffix(line, "\n")))
	}
	d.look = lookup{
		vars: map[string]value{
			"a": {text: "one", defined: true}, "empty": {defined: true}, "none": {},
			"secret": {text: "hunter22", defined: true, sensitive: true}, "n": {text: "12", defined: true},
			"broken": {broken: true},
		},
		env:       func(name string) (string, bool) { return "home", name == "HOME" || name == "TOKEN" },
		secretEnv: map[string]bool{"TOKEN": true},
		image:     map[string]value{"name": {text: "golden", defined: true}},
		platform:  map[string]value{"name": {text: "vmware", defined: true}},
		matrix:    map[string]string{"os-name": "bookworm"},
	}
	s, ok := d.scalar(node, "field")
	if ok != (len(faults) == 0) && !strings.Contains(text, "broken") {
		t.Errorf("%q: ok is %v with faults %v", text, ok, faults)
	}
	return s, faults
}

func TestExpand(t *testing.T) {
	for _, tt := range []struct{ text, want, public, tag string }{
		{"plain", "plain", "", "!!str"},
		{"${{ var.a }}", "one", "", "!!str"},
		{"${{var.a}}${{ var.a }}", "oneone", "", "!!str"},
		{"<${{ env.HOME }}>", "<home>", "", "!!str"},
		{"${{ var.n }}", "12", "", "!!int"},
		{"${{ 'true' }}", "true", "", "!!bool"},
		{"${{ '' }}", "", "", "!!str"},
		{"${{ 'null' }}", "null", "", "!!str"},
		{"x${{ var.n }}", "x12", "", "!!str"},
		{"${{ 'it''s }}' }}", "it's }}", "", "!!str"},
		{"${{ matrix.os-name || 'x' }}", "bookworm", "", "!!str"},
		{"${{ matrix.gone || env.GONE || var.none || 'x' }}", "x", "", "!!str"},
		{"${{ var.empty || 'x' }}", "x", "", "!!str"},
		{"${{ var.empty || var.none }}", "", "", "!!str"},
		{"${{\n  var.none\n  ||\n  image.name }}", "golden", "", "!!str"},
		{"$${{ var.a }} $ $$ {{ }}", "${{ var.a }} $ $$ {{ }}", "$${{ var.a }} $ $$ {{ }}", "!!str"},
		{"-H ${{ var.secret }}", "-H hunter22", "-H ${{var.secret}}", "!!str"},
		{"${{ var.secret }}", "hunter22", "${{var.secret}}", "!!str"},
		{"${{ env.TOKEN }}", "home", "${{env.TOKEN}}", "!!str"},
		{"$${{var.secret}}", "${{var.secret}}", "$${{var.secret}}", "!!str"},
		{"${{ '$' }}{{var.secret}}", "${{var.secret}}", "$${{var.secret}}", "!!str"},
		{"${{ '$' }}${{ var.secret }}", "$hunter22", "${{'$'}}${{var.secret}}", "!!str"},
	} {
		got, faults := expand(t, false, tt.text)
		if len(faults) > 0 || got.text != tt.want || got.tag != tt.tag {
			t.Errorf("%q: got %q (%s) %v, want %q (%s)", tt.text, got.text, got.tag, faults, tt.want, tt.tag)
		}
		public, _ := expand(t, true, tt.text)
		if tt.public == "" {
			tt.public = tt.want
		}
		if public.text != tt.public {
			t.Errorf("%q: public form %q, want %q", tt.text, public.text, tt.public)
		}
	}
	if _, faults := expand(t, false, "${{ var.broken || 'x' }}"); len(faults) != 0 {
		t.Errorf("a broken variable is reported again: %v", faults)
	}
}

func TestExpandFaults(t *testing.T) {
	for _, tt := range []struct {
		text   string
		line   int
		column int
		says   string
	}{
		{"${{ var.b }}", 2, 5, `undefined variable "b"`},
		{"a\nä ${{ var.b }}", 3, 7, `undefined variable "b"`},
		{"${{ var.a || var.b }}", 2, 14, `undefined variable "b"`},
		{"${{ var.none }}", 2, 5, "var.none has no value"},
		{"${{ matrix.x || env.Y }}", 2, 17, "env.Y has no value"},
		{"${{ host.x }}", 2, 5, "a look-up begins with var, env"},
		{"${{ image.nam }}", 2, 5, "known here are image.name"},
		{"${{ var.a", 2, 1, "has no end"},
		{"${{ var.a }", 2, 11, "want || or }}"},
		{"${{ 'a", 2, 5, "literal has no end"},
		{"${{ var.a || }}", 2, 14, "want a look-up"},
		{"${{ var }}", 2, 5, "var is not a look-up"},
		{"${{ var.9 }}", 2, 9, "want a name after var."},
		{"${{", 2, 1, "has no end"},
	} {
		_, faults := expand(t, false, tt.text)
		if len(faults) != 1 || !strings.Contains(faults[0].Message, tt.says) || faults[0].Line != tt.line || faults[0].Column != tt.column {
			t.Errorf("%q: got %v, want %d:%d: %s", tt.text, faults, tt.line, tt.column, tt.says)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, seed := range []string{"${{ var.a || 'it''s' }}", "$${{ x }}", "${{", "a ${{ env.B }} c", "${{ 'a' || }}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		segments, err := parseText(text)
		var wrong *exprError
		if err != nil && (!errors.As(err, &wrong) || wrong.offset < 0 || wrong.offset > len(text)) {
			t.Fatalf("%q: fault at a place that is not there: %v", text, err)
		}
		// What has no expression in it comes through as it is.
		if !strings.Contains(text, opening) && (err != nil || len(segments) > 1 || len(segments) == 1 && segments[0].text != text) {
			t.Fatalf("%q became %v, %v", text, segments, err)
		}
		// A literal that is quoted and an opening that is escaped come back.
		quoted := strings.ReplaceAll(text, opening, escaped) + "${{ '" + strings.ReplaceAll(text, "'", "''") + "' }}"
		segments, err = parseText(quoted)
		if strings.HasSuffix(text, "$") || strings.Contains(text, "$"+escaped) {
			return // a dollar sign before the opening escapes it
		}
		if err != nil || len(segments) == 0 || segments[len(segments)-1].alternatives[0].literal != text {
			t.Fatalf("%q: quoting gave %v, %v", text, segments, err)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("name: a\nsource: {bootstrap: {release: b}}\nplatforms: {libvirt: {}}\nprovision:\n  - shell: |\n      echo ${{ var.x }}\n"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("name: \"a\\x24{{ var.b }}\"\r\nvariables: {b: {default: 1}}\n"))
	f.Add([]byte("? {a: b}\n: !!binary x\n<<: 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("t.yml", text, testRegistry())
		var resolved *Template
		if err == nil {
			resolved, err = file.Resolve(Scope{})
		}
		if err == nil {
			if resolved.Name == "" || resolved.Source.Public == nil || len(resolved.Platforms) == 0 {
				t.Fatalf("accepted, and yet %+v", resolved)
			}
			return
		}
		var list fault.List
		if !errors.As(err, &list) || len(list) == 0 {
			t.Fatalf("not a list of faults: %v", err)
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, each := range list {
			if each.Line > lines+1 || each.Line < 0 || !utf8.ValidString(each.Message) {
				t.Fatalf("%d lines, and the fault is %v", lines, each)
			}
		}
	})
}
