package githubtest

import (
	"slices"
	"strings"
	"testing"
)

// The description is whole, and it and the routes name the same operations.
func TestDescription(t *testing.T) {
	spec, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	var described, served []string
	for path, item := range spec.doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	for _, each := range append(slices.Clone(routes), uploads) {
		served = append(served, each.op.method+" "+each.op.path)
		if plain := strings.ReplaceAll(each.pattern, "...}", "}"); plain != each.op.path {
			t.Errorf("%s is described as %s", each.pattern, each.op.path)
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described:\n%s\nserved:\n%s", strings.Join(described, "\n"), strings.Join(served, "\n"))
	}
}
