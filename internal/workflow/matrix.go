package workflow

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// MaxCells is how many jobs a matrix can have on GitHub.
const MaxCells = 256

// maxProduct bounds the combinations that are looked at before exclude.
const maxProduct = 1 << 20

// axis is one list of a matrix.
type axis struct {
	name   string
	values []any
}

// rules is a matrix before it is expanded.
type rules struct {
	axes    []axis
	include []Object
	exclude []Object
}

// combinations expands the job's matrix; a job without one has a single empty
// combination.
func (s *scope) combinations() ([]Object, error) {
	strategy := get(s.job, "strategy")
	node := get(strategy, "matrix")
	if strategy != nil && strategy.Kind == yaml.ScalarNode && strings.Contains(strategy.Value, "${{") {
		value, err := s.value(strategy)
		if err != nil {
			return nil, err
		}
		object, _ := value.(Object)
		matrix, _ := object.Get("matrix")
		return s.expandValue(strategy, matrix)
	}
	if node == nil {
		return []Object{{}}, nil
	}
	if node.Kind != yaml.MappingNode {
		value, err := s.value(node)
		if err != nil {
			return nil, err
		}
		return s.expandValue(node, value)
	}
	var r rules
	for key, content := range members(node) {
		value, err := s.value(content)
		if err != nil {
			return nil, err
		}
		if err := s.add(&r, key.Value, value, content); err != nil {
			return nil, err
		}
	}
	return s.expand(node, &r)
}

// expandValue expands a matrix that an expression gave.
func (s *scope) expandValue(node *yaml.Node, value any) ([]Object, error) {
	object, ok := value.(Object)
	if !ok {
		return nil, s.file.failAt(node, "a matrix is a mapping of lists, and this is %s", describe(value))
	}
	var r rules
	for _, m := range object {
		if err := s.add(&r, m.Name, m.Value, node); err != nil {
			return nil, err
		}
	}
	return s.expand(node, &r)
}

// add sorts one key of the matrix in. The names include and exclude are words
// of GitHub's.
func (s *scope) add(r *rules, name string, value any, node *yaml.Node) error {
	list, ok := value.([]any)
	if !ok {
		return s.file.failAt(node, "matrix.%s: want a list, found %s", name, describe(value))
	}
	if name != "include" && name != "exclude" {
		if len(list) == 0 {
			return s.file.failAt(node, "matrix.%s: the list is empty, and so there would be no job", name)
		}
		r.axes = append(r.axes, axis{name, list})
		return nil
	}
	for i, item := range list {
		at := node
		if own := items(node); i < len(own) {
			at = own[i]
		}
		object, ok := item.(Object)
		switch {
		case !ok:
			return s.file.failAt(at, "matrix.%s[%d]: want a mapping, found %s", name, i, describe(item))
		case len(object) == 0:
			return s.file.failAt(at, "matrix.%s[%d]: the mapping is empty", name, i)
		case name == "include":
			r.include = append(r.include, object)
		default:
			r.exclude = append(r.exclude, object)
		}
	}
	return nil
}

// expand is the rule of GitHub's documentation ("Running variations of jobs in
// a workflow"), in the order in which the runner's published sources
// (MatrixBuilder) apply it: the product without what is excluded, each with
// what the includes add to it; then the includes that fitted nowhere.
func (s *scope) expand(node *yaml.Node, r *rules) ([]Object, error) {
	for _, each := range r.exclude {
		for _, m := range each {
			if !r.has(m.Name) {
				return nil, s.file.failAt(node, "matrix.exclude: %s is not a key of the matrix", m.Name)
			}
		}
	}
	total := 1
	for _, a := range r.axes {
		if total *= len(a.values); total > maxProduct {
			return nil, s.tooMany(node)
		}
	}
	if len(r.axes) == 0 {
		total = 0
	}
	var all []Object
	fitted := make([]bool, len(r.include))
	for n := range total {
		combination := r.combination(n, total)
		if r.excludes(combination) {
			continue
		}
		all = append(all, r.extend(combination, fitted))
		if len(all) > MaxCells {
			return nil, s.tooMany(node)
		}
	}
	for i, each := range r.include {
		if !fitted[i] {
			all = append(all, each)
		}
	}
	switch {
	case len(all) > MaxCells:
		return nil, s.tooMany(node)
	case len(all) == 0:
		return nil, s.file.failAt(node, "the matrix has no combination, and so there is no job")
	}
	return all, nil
}

func (s *scope) tooMany(node *yaml.Node) error {
	return s.file.failAt(node, "the matrix has more than %d combinations, which GitHub refuses; split the job in two, or exclude some", MaxCells)
}

func (r *rules) has(name string) bool {
	for _, a := range r.axes {
		if strings.EqualFold(a.name, name) {
			return true
		}
	}
	return false
}

// combination is the nth of the product: the last axis turns fastest.
func (r *rules) combination(n, total int) Object {
	object := make(Object, 0, len(r.axes))
	for _, a := range r.axes {
		total /= len(a.values)
		object = object.set(a.name, a.values[n/total%len(a.values)])
	}
	return object
}

func (r *rules) excludes(combination Object) bool {
	for _, each := range r.exclude {
		if fits(combination, each) {
			return true
		}
	}
	return false
}

// extend adds to a combination what the includes that fit it have besides. A
// later include may overwrite what an earlier one added, and none what the
// axes gave.
func (r *rules) extend(combination Object, fitted []bool) Object {
	extended := append(Object(nil), combination...)
	for i, each := range r.include {
		var own, extra Object
		for _, m := range each {
			if r.has(m.Name) {
				own = append(own, m)
			} else {
				extra = append(extra, m)
			}
		}
		if !fits(combination, own) {
			continue
		}
		fitted[i] = true
		for _, m := range extra {
			extended = extended.set(m.Name, m.Value)
		}
	}
	return extended
}

// fits tells whether a value has everything that a filter asks for. Objects
// and lists are compared leaf by leaf, so a part of them is enough.
func fits(value, filter any) bool {
	switch f := filter.(type) {
	case Object:
		object, _ := value.(Object)
		for _, m := range f {
			item, _ := object.Get(m.Name)
			if !fits(item, m.Value) {
				return false
			}
		}
		return true
	case []any:
		list, _ := value.([]any)
		for i, each := range f {
			var item any
			if i < len(list) {
				item = list[i]
			}
			if !fits(item, each) {
				return false
			}
		}
		return true
	}
	return equal(value, filter)
}
