package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
)

// lineEnd is what YAML takes for one.
var lineEnd = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// FuzzWorkflow reads any text for a workflow: every fault is the user's, with
// a place in the file.
func FuzzWorkflow(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(strings.Replace(plannedWorkflow, "SCRIPT", "run: matrix=$(imagebuild plan --matrix 'a b')", 1)))
	f.Add([]byte("jobs: {a: {strategy: {matrix: {v: [0x1, .inf, &a [*a]]}}, steps: [{uses: ./, with: {x: '${{ matrix.v[0].* }}'}}]}}"))
	f.Add([]byte("jobs: {a: {strategy: \"${{ fromJSON('{\"matrix\":1}') }}\", steps: [{uses: ./}]}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		check := func(err error) {
			var located *fault.Located
			if err == nil {
				return
			}
			if !errors.As(err, &located) || fault.KindOf(err) != fault.Input {
				t.Fatalf("without a place: %v", err)
			}
			if lines := len(lineEnd.Split(string(text), -1)) + 1; located.Line < 0 || located.Line > lines || located.Column < 0 {
				t.Fatalf("%d lines, and the fault is %v", lines, located)
			}
		}
		file, err := Parse("w.yml", text)
		if check(err); err != nil {
			return
		}
		for _, job := range file.Jobs() {
			cells, err := job.Cells(context.Background(), func(context.Context, Command) (string, error) { return `{"include":[{"a":1}]}`, nil })
			if check(err); err != nil {
				continue
			}
			if len(cells) == 0 || len(cells) > MaxCells*len(job.steps) {
				t.Fatalf("%d cells", len(cells))
			}
			for _, cell := range cells[:min(4, len(cells))] {
				for _, name := range []string{"template", "platform", "x"} {
					_, _, err := cell.Input(name)
					check(err)
				}
				_ = cell.String()
			}
		}
	})
}

// FuzzExpand holds any matrix to what the rules promise.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2],"b":["x","y"],"include":[{"a":1,"c":3},{"d":4},{"a":9}],"exclude":[{"a":2,"b":"x"}]}`,
		`{"include":[{"a":1},{"b":2}]}`, `{"a":[{"b":{"c":[1,2]}}],"exclude":[{"a":{"b":{"c":[1]}}}]}`, `{"A":[1],"a":[2]}`, `{"a":[null,false,0,""]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, err := fromJSON(text)
		if err != nil {
			return
		}
		if written, err := compact(value); err != nil || !json.Valid([]byte(written)) {
			t.Fatalf("%q became %q, %v", text, written, err)
		}
		matrix, ok := value.(Object)
		if !ok {
			return
		}
		file, err := Parse("w.yml", []byte("jobs: {a: {strategy: {matrix: x}}}"))
		if err != nil {
			t.Fatal(err)
		}
		s := scope{ctx: context.Background(), file: file, job: get(get(file.doc.Root, "jobs"), "a")}
		node := get(get(s.job, "strategy"), "matrix")
		all, err := s.expandValue(node, matrix)
		if err != nil {
			return
		}
		var r rules
		product := 1
		for _, m := range matrix {
			if err := s.add(&r, m.Name, m.Value, node); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range r.axes {
			product *= len(a.values)
		}
		if len(all) > product+len(r.include) || len(all) > MaxCells || len(all) == 0 {
			t.Fatalf("%d combinations of %d and %d", len(all), product, len(r.include))
		}
		included := 0
		for _, combination := range all {
			whole, original := true, make(Object, 0, len(r.axes))
			for _, a := range r.axes {
				v, ok := combination.Get(a.name)
				whole = whole && ok && member(a.values, v)
				original = append(original, Member{a.name, v})
			}
			switch {
			case !whole || len(r.axes) == 0:
				included++ // only an include makes what the axes do not have
			case r.excludes(original) && !oneOf(r.include, combination):
				t.Fatalf("%v was excluded", combination)
			}
		}
		if included > len(r.include) {
			t.Fatalf("%d combinations of %d includes", included, len(r.include))
		}
	})
}

func member(values []any, v any) bool {
	for _, each := range values {
		if same(each, v) {
			return true
		}
	}
	return false
}

func oneOf(objects []Object, o Object) bool {
	for _, each := range objects {
		if same(each, o) {
			return true
		}
	}
	return false
}

func same(a, b any) bool {
	x, errX := compact(a)
	y, errY := compact(b)
	return x == y && errX == nil && errY == nil
}
