package release

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/org/imagebuild-action/internal/fault"
)

// Completion is what a release waits for before it is closed.
type Completion string

// The rules. What a job built besides, and all jobs of its matrix, are waited
// for under both.
const (
	// WholeTemplate waits for every cell of the templates whose cells are there.
	WholeTemplate Completion = "template"
	// WholeMatrix waits for nothing else: for those who publish a part of a
	// template on purpose.
	WholeMatrix Completion = "matrix"
)

// ParseCompletion reads a rule; an empty text is WholeTemplate.
func ParseCompletion(text string) (Completion, error) {
	switch c := Completion(text); c {
	case "":
		return WholeTemplate, nil
	case WholeTemplate, WholeMatrix:
		return c, nil
	}
	return "", fault.Errorf(fault.Input, "%q is not a rule for when a release is complete; want %s or %s", text, WholeTemplate, WholeMatrix)
}

// missing lists what the cells that are there still wait for, for people, in a
// fixed order. A cell that nobody has heard of cannot be waited for: that is
// what the matrix's count of jobs is for.
func missing(cells []*Cell, rule Completion) []string {
	have, want := map[Ref]bool{}, map[Ref]bool{}
	type matrix struct {
		total int
		jobs  map[int]bool
	}
	matrices := map[string]*matrix{}
	for _, c := range cells {
		have[c.Ref] = true
		lists := [][]Ref{c.Built}
		if rule != WholeMatrix {
			lists = append(lists, c.Template)
		}
		for _, list := range lists {
			for _, ref := range list {
				want[ref] = true
			}
		}
		if c.Job != nil {
			m := matrices[c.Job.Key]
			if m == nil {
				m = &matrix{jobs: map[int]bool{}}
				matrices[c.Job.Key] = m
			}
			m.total = max(m.total, c.Job.Total)
			m.jobs[c.Job.Index] = true
		}
	}
	var lacking []string
	for _, ref := range slices.SortedFunc(maps.Keys(want), Ref.compare) {
		if !have[ref] {
			lacking = append(lacking, "cell "+ref.String())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(matrices)) {
		m := matrices[key]
		for i := range m.total {
			if !m.jobs[i] {
				lacking = append(lacking, fmt.Sprintf("job %d of %d%s", i+1, m.total, spaced(key)))
			}
		}
	}
	return lacking
}

func spaced(key string) string {
	if key == "" {
		return ""
	}
	return " of " + key
}

// sortCells puts cells into the order of all that is generated from them.
func sortCells(cells []*Cell) {
	slices.SortFunc(cells, func(a, b *Cell) int {
		return cmp.Or(a.compare(b.Ref), compareVersions(a.Version, b.Version), cmp.Compare(a.Version, b.Version))
	})
}
