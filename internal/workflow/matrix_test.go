package workflow

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
)

// expanded returns the combinations of a matrix, as JSON in one line each.
func expanded(t *testing.T, matrix string, planner Planner) ([]string, error) {
	t.Helper()
	text := "jobs:\n  image:\n    strategy:\n      matrix:" + strings.ReplaceAll("\n"+strings.TrimSpace(matrix), "\n", "\n        ") +
		"\n    steps:\n      - uses: org/imagebuild-action@v1\n"
	if strings.HasPrefix(matrix, "$") {
		text = strings.Replace(text, "matrix:\n        ", "matrix: ", 1)
	}
	file, err := Parse("w.yml", []byte(text))
	if err != nil {
		return nil, err
	}
	cells, err := file.Jobs()[0].Cells(t.Context(), planner)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, cell := range cells {
		line, err := compact(cell.Matrix)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.ReplaceAll(line, `"`, ""))
	}
	return all, nil
}

func TestMatrix(t *testing.T) {
	for name, tt := range map[string]struct {
		matrix string
		want   []string
	}{
		"the last axis turns fastest": {
			"os: [a, b]\nversion: [1, 2, 3]",
			[]string{"{os:a,version:1}", "{os:a,version:2}", "{os:a,version:3}", "{os:b,version:1}", "{os:b,version:2}", "{os:b,version:3}"},
		},
		"one axis": {"platform: [virtualbox, vmware]", []string{"{platform:virtualbox}", "{platform:vmware}"}},
		// The documentation's fruits and animals: what each rule does.
		"include adds, overwrites what was added, and never what was there": {
			`fruit: [apple, pear]
animal: [cat, dog]
include:
  - color: green
  - color: pink
    animal: cat
  - fruit: apple
    shape: circle
  - fruit: banana
  - fruit: banana
    animal: cat`,
			[]string{
				"{fruit:apple,animal:cat,color:pink,shape:circle}", "{fruit:apple,animal:dog,color:green,shape:circle}",
				"{fruit:pear,animal:cat,color:pink}", "{fruit:pear,animal:dog,color:green}",
				"{fruit:banana}", "{fruit:banana,animal:cat}",
			},
		},
		"include extends one combination": {
			"os: [windows-latest, ubuntu-latest]\nnode: [14, 16]\ninclude:\n  - {os: windows-latest, node: 16, npm: 6}",
			[]string{
				"{os:windows-latest,node:14}", "{os:windows-latest,node:16,npm:6}",
				"{os:ubuntu-latest,node:14}", "{os:ubuntu-latest,node:16}",
			},
		},
		"include adds a combination": {
			"os: [macos]\nversion: [12]\ninclude:\n  - {os: windows, version: 17}",
			[]string{"{os:macos,version:12}", "{os:windows,version:17}"},
		},
		"include alone": {
			"include:\n  - {site: production, datacenter: a}\n  - {site: staging, datacenter: b}",
			[]string{"{site:production,datacenter:a}", "{site:staging,datacenter:b}"},
		},
		"exclude by all keys and by some": {
			`os: [macos, windows]
version: [12, 14]
environment: [staging, production]
exclude:
  - {os: macos, version: 12, environment: production}
  - {os: windows, version: 14}`,
			[]string{
				"{os:macos,version:12,environment:staging}", "{os:macos,version:14,environment:staging}", "{os:macos,version:14,environment:production}",
				"{os:windows,version:12,environment:staging}", "{os:windows,version:12,environment:production}",
			},
		},
		"include comes after exclude": {
			"os: [a, b]\nexclude: [{os: a}]\ninclude: [{os: a, extra: 1}]",
			[]string{"{os:b}", "{os:a,extra:1}"},
		},
		"everything excluded, everything included": {"os: [a]\nexclude: [{os: a}]\ninclude: [{x: 1}]", []string{"{x:1}"}},
		"scalars keep their meaning": {
			`v: [1, 3.10, "3.10", true, "true", null, ~, yes, 0x10, 0o17, 1e3, 2026-01-02, 1_000, -1, .5, !!str 7]`,
			[]string{
				"{v:1}", "{v:3.1}", "{v:3.10}", "{v:true}", "{v:true}", "{v:null}", "{v:null}", "{v:yes}", "{v:16}", "{v:15}",
				"{v:1000}", "{v:2026-01-02}", "{v:1_000}", "{v:-1}", "{v:0.5}", "{v:7}",
			},
		},
		"comparisons are those of expressions": {
			`v: [1, A, null]
exclude:
  - v: "1"
  - v: a
  - v: ""`, nil,
		},
		"objects, and a part of them": {
			`node: [{version: 14, env: {a: 1}}, {version: 20, env: {a: 2}}]
exclude:
  - node: {version: 14}`,
			[]string{"{node:{version:20,env:{a:2}}}"},
		},
		"lists leaf by leaf":           {"v: [[1, 2], [1, 3], [1]]\nexclude: [{v: [1, 2]}]", []string{"{v:[1,3]}", "{v:[1]}"}},
		"an object excludes no scalar": {"v: [1, {a: 1}]\nexclude: [{v: {a: 1}}]", []string{"{v:1}"}},
		"a whole matrix of a literal": {
			`${{ fromJSON('{"b":[1,2],"a":["it''s"],"include":[{"b":2,"c":null}]}') }}`,
			[]string{"{b:1,a:it's}", "{b:2,a:it's,c:null}"},
		},
		"an axis of a literal":   {"a: ${{ fromJSON('[\"x\", 2]') }}\nb: [y]", []string{"{a:x,b:y}", "{a:2,b:y}"}},
		"include of a literal":   {"include: ${{ fromJSON('[{\"a\":1}]') }}", []string{"{a:1}"}},
		"an item that is worked": {"a: [\"${{ 1 == 1 && 'x' || 'y' }}\", \"v${{ 2 }}\"]", []string{"{a:x}", "{a:v2}"}},
		"anchors":                {"a: [&x {n: 1}, *x]", []string{"{a:{n:1}}", "{a:{n:1}}"}},
		"keys regardless of case": {
			"Os: [a, b]\nexclude: [{os: a}]\ninclude: [{OS: b, x: 1}]", []string{"{Os:b,x:1}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := expanded(t, tt.matrix, nil)
			if tt.want == nil {
				if err == nil || !strings.Contains(err.Error(), "the matrix has no combination") {
					t.Fatalf("got %v, %v; want no combination", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMatrixFaults(t *testing.T) {
	many := "a: [" + strings.Repeat("x, ", 16) + "x]\nb: [" + strings.Repeat("x, ", 16) + "x]"
	huge := ""
	for _, name := range strings.Split("abcdefgh", "") {
		huge += name + ": [" + strings.Repeat("x, ", 99) + "x]\n"
	}
	for matrix, want := range map[string]string{
		"a: x":                               `w.yml:5:12: matrix.a: want a list, found the text "x"`,
		"a: []":                              "w.yml:5:12: matrix.a: the list is empty",
		"a: [1]\nexclude: [{b: 1}]":          "w.yml:5:9: matrix.exclude: b is not a key of the matrix",
		"a: [1]\nexclude: [{}]":              "w.yml:6:19: matrix.exclude[0]: the mapping is empty",
		"a: [1]\ninclude: [1]":               "w.yml:6:19: matrix.include[0]: want a mapping, found the number 1",
		"a: [1]\ninclude: {a: 1}":            "matrix.include: want a list, found an object",
		"a: [1]\nexclude: [{a: 1}]":          "the matrix has no combination",
		"a: ${{ fromJSON('[1') }}":           "w.yml:5:25: fromJSON: not JSON: ",
		"a: ${{ fromJSON(inputs.list) }}":    "w.yml:5:25: inputs.list is known to GitHub only",
		"a: ${{ vars.LIST }}":                "w.yml:5:16: vars.LIST is known to GitHub only",
		"a: ${{ matrix.b }}":                 "w.yml:5:16: matrix cannot be looked up here",
		"a: ${{ x.y }}":                      "w.yml:5:16: x is not a context",
		"a: ${{ hashFiles('x') }}":           "hashFiles() cannot be evaluated outside of GitHub",
		"a: ${{ 'x' }":                       "w.yml:5:12: the expression has no end",
		"a: ${{ 'x' | }}":                    "w.yml:5:",
		"a: &x [*x]":                         "w.yml:5:16: too many lists",
		many:                                 "w.yml:5:9: the matrix has more than 256 combinations",
		huge:                                 "the matrix has more than 256 combinations",
		`${{ fromJSON('[1]') }}`:             "w.yml:4:15: a matrix is a mapping of lists, and this is a list",
		`${{ fromJSON('{"a":1}') }}`:         "w.yml:4:15: matrix.a: want a list, found the number 1",
		`${{ fromJSON(needs.p.outputs.m) }}`: "w.yml:4:28: needs.p.outputs.m is known to GitHub only: there is no job p; write the matrix out",
	} {
		_, err := expanded(t, matrix, nil)
		if err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Input {
			t.Errorf("%.60s: got %v, want %q", matrix, err, want)
		}
	}
}

func TestAliasesAreBounded(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := byte('b'); i < 'i'; i++ {
		bomb += string(i) + ": &" + string(i) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(i-1)+",", 10), ",") + "]\n"
	}
	if _, err := expanded(t, bomb, nil); err == nil || !strings.Contains(err.Error(), "stand for more than") {
		t.Errorf("got %v", err)
	}
}

const plannedWorkflow = `jobs:
  plan:
    outputs: {matrix: "${{ steps.cells.outputs.matrix }}", other: "x${{ steps.cells.outputs.matrix }}"}
    steps:
      - id: cells
        SCRIPT
  image:
    needs: plan
    strategy: {matrix: "${{ fromJSON(needs.plan.outputs.matrix) }}"}
    steps:
      - uses: someone/imagebuild-action@0123456789abcdef
        with: {template: "${{ matrix.template }}"}
`

func TestPlannedMatrix(t *testing.T) {
	for script, want := range map[string]string{
		`run: echo "matrix=$(imagebuild plan --matrix)" >> "$GITHUB_OUTPUT"`:                                                                          "--matrix",
		`run: echo matrix=$(./bin/imagebuild plan 'my images' --matrix web) >> $GITHUB_OUTPUT`:                                                        "my images|--matrix|web",
		"run: |\n          set -e\n          matrix=$(imagebuild plan --matrix \\\n            a b)":                                                  "--matrix|a|b",
		`run: echo "matrix=$(imagebuild plan --matrix --changed-since "origin/${{ github.base_ref }}")"`:                                              "--matrix",
		`run: echo "matrix=$(imagebuild plan --matrix --changed-since=$BASE --since-release x.yml)"`:                                                  "--matrix|x.yml",
		"uses: org/imagebuild-action@v1\n        with: {command: plan, template: \"a b\\n\\nc\", changed-since: '${{ github.sha }}', variables: x=1}": "--matrix|a b|c|--var=x=1",
		`run: echo "matrix=$(imagebuild plan --matrix $DIR)"`:                                                                                         "w.yml:6:14: imagebuild plan --matrix $DIR: a shell or GitHub would expand that",
		`run: echo "matrix=$(imagebuild plan)"`:                                                                                                       "the step cells does not plan it",
		`run: echo "matrix=[]"`:                                                                                                                       "the step cells does not plan it",
		"uses: org/imagebuild-action@v1":                                                                                                              "the step cells does not plan it",
		"uses: org/other@v1":                                                                                                                          "the step cells does not plan it",
	} {
		file, err := Parse("w.yml", []byte(strings.Replace(plannedWorkflow, "SCRIPT", script, 1)))
		if err != nil {
			t.Fatal(err)
		}
		var got string
		jobs, err := file.Choose("image")
		if err != nil {
			t.Fatal(err)
		}
		cells, err := jobs[0].Cells(t.Context(), func(_ context.Context, c Command) (string, error) {
			got = strings.Join(c.Args, "|")
			return `{"include":[{"template":"t.yml","platform":"libvirt"}]}`, nil
		})
		if err != nil {
			got = err.Error()
		} else if text, _, err := cells[0].Input("template"); text != "t.yml" || err != nil {
			t.Errorf("%s: template %q, %v", script, text, err)
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
}
