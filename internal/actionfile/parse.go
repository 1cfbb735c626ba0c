package actionfile

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
)

// reader turns nodes into a File. It reports faults and goes on.
type reader struct {
	name   string
	faults fault.List
}

func (r *reader) fail(node *yaml.Node, field, format string, args ...any) {
	r.faults.Add(fault.Position{File: r.name, Line: node.Line, Column: node.Column, Field: field}, format, args...)
}

// entry is one key of a mapping with its value.
type entry struct{ key, value *yaml.Node }

// entries returns a mapping's entries in the file's order, each key once. Keys
// that are not allowed are faults; no allowed keys means that all are.
func (r *reader) entries(node *yaml.Node, field string, allowed ...string) []entry {
	if node.Kind != yaml.MappingNode {
		r.fail(node, field, "want a mapping")
		return nil
	}
	var all []entry
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case len(allowed) > 0 && !slices.Contains(allowed, key.Value):
			r.fail(key, field, "unknown key %q; there are %s", key.Value, strings.Join(allowed, ", "))
			continue
		case slices.ContainsFunc(all, func(e entry) bool { return strings.EqualFold(e.key.Value, key.Value) }):
			r.fail(key, field, "%q is there twice", key.Value) // the runner ignores case
			continue
		}
		all = append(all, entry{key, value})
	}
	return all
}

// text is a value that has to be text. The runner takes numbers and truth
// values for text as well, but readers of the file may not.
func (r *reader) text(e entry, field string) string {
	if e.value.Kind != yaml.ScalarNode || e.value.Tag != "!!str" {
		r.fail(e.value, field+"."+e.key.Value, "want text")
		return ""
	}
	return e.value.Value
}

func (r *reader) file(node *yaml.Node) *File {
	f := &File{}
	for _, e := range r.entries(node, "", "name", "description", "author", "branding", "inputs", "outputs", "runs") {
		switch e.key.Value {
		case "name":
			f.Name = r.text(e, "")
		case "description":
			f.Description = r.text(e, "")
		case "author":
			f.Author = r.text(e, "")
		case "branding":
			r.branding(f, e.value)
		case "inputs":
			for _, e := range r.entries(e.value, "inputs") {
				f.Inputs = append(f.Inputs, r.input(e))
			}
		case "outputs":
			for _, e := range r.entries(e.value, "outputs") {
				f.Outputs = append(f.Outputs, r.output(e))
			}
		case "runs":
			f.Runs = r.runs(e.value)
		}
	}
	for _, missing := range []struct{ key, value string }{
		{"name", f.Name}, {"description", f.Description}, {"runs.image", f.Runs.Image},
	} {
		if missing.value == "" {
			r.fail(node, missing.key, "is missing")
		}
	}
	return f
}

func (r *reader) branding(f *File, node *yaml.Node) {
	for _, e := range r.entries(node, "branding", "icon", "color") {
		if e.key.Value == "icon" {
			f.Icon = r.text(e, "branding")
		} else {
			f.Color = r.text(e, "branding")
		}
	}
}

// anInputName is what arrives as INPUT_ and the name in upper case.
var anInputName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

func (r *reader) input(e entry) Input {
	input, field := Input{Name: e.key.Value}, "inputs."+e.key.Value
	r.checkName(e.key, field)
	for _, e := range r.entries(e.value, field, "description", "default", "deprecationMessage") {
		switch e.key.Value {
		case "description":
			input.Description = r.text(e, field)
		case "default":
			input.Default = r.text(e, field)
		case "deprecationMessage":
			input.Deprecated = r.text(e, field)
		}
	}
	if input.Description == "" {
		r.fail(e.key, field, "has no description")
	}
	return input
}

func (r *reader) output(e entry) Output {
	output, field := Output{Name: e.key.Value}, "outputs."+e.key.Value
	r.checkName(e.key, field)
	for _, e := range r.entries(e.value, field, "description") {
		output.Description = r.text(e, field)
	}
	if output.Description == "" {
		r.fail(e.key, field, "has no description")
	}
	return output
}

func (r *reader) checkName(key *yaml.Node, field string) {
	if !anInputName.MatchString(key.Value) {
		r.fail(key, field, "want lower-case words with hyphens between them")
	}
}

func (r *reader) runs(node *yaml.Node) Runs {
	runs := Runs{}
	for _, e := range r.entries(node, "runs", "using", "image", "entrypoint", "post-entrypoint", "post-if", "env") {
		switch e.key.Value {
		case "using":
			if using := r.text(e, "runs"); using != "docker" {
				r.fail(e.value, "runs.using", "%q: only docker actions are read here", using)
			}
		case "image":
			runs.Image = r.text(e, "runs")
			r.checkImage(e.value, runs.Image)
		case "entrypoint":
			runs.Entrypoint = r.text(e, "runs")
		case "post-entrypoint":
			runs.PostEntrypoint = r.text(e, "runs")
		case "post-if":
			runs.PostIf = r.text(e, "runs")
		case "env":
			runs.Env = map[string]string{}
			for _, e := range r.entries(e.value, "runs.env") {
				runs.Env[e.key.Value] = r.text(e, "runs.env")
			}
		}
	}
	return runs
}

// anImage is the Dockerfile in the action's folder, or a published image that
// nobody can exchange.
var anImage = regexp.MustCompile(`^(Dockerfile|docker://[a-z0-9.:-]+(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64})$`)

func (r *reader) checkImage(node *yaml.Node, image string) {
	if image != "" && !anImage.MatchString(image) {
		r.fail(node, "runs.image", "%q: want Dockerfile, or docker://REGISTRY/NAME@sha256:DIGEST", image)
	}
}
