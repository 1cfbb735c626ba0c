package template

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
)

// MaxBytes is the largest template that Load reads.
const MaxBytes = 1 << 20

// File is a template that was read but not yet resolved: its text is sound
// YAML, its expressions are still there.
type File struct {
	path     string
	dir      string
	registry Registry
	root     *yaml.Node // the outermost mapping
	lines    [][]rune   // of the text, without their ends
	faults   fault.List // of the structure; Resolve reports them with its own
}

// Load reads a template. Its errors are what keeps it from being YAML, a
// fault.List with positions, or the file system's. All else is Resolve's, so
// that it is reported at once.
func Load(path string, reg Registry) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Errorf(fault.Input, "%w; name the template, or run imagebuild init to write one", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, fault.Errorf(fault.Input, "read the template: %w", err)
	}
	return Parse(path, data, reg)
}

// Parse is Load for a template whose text is at hand. path is where it is
// said to be: its folder is what relative paths start from.
func Parse(path string, data []byte, reg Registry) (*File, error) {
	if err := reg.Check(); err != nil {
		return nil, err
	}
	f := &File{path: path, dir: filepath.Dir(path), registry: reg}
	if len(data) > MaxBytes {
		return nil, f.refuse(place{}, "the template is larger than 1 MiB; put scripts into files of their own")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors write a byte order mark
	if at, message := unreadable(data); message != "" {
		return nil, f.refuse(at, message)
	}
	for line := range strings.Lines(string(data)) {
		f.lines = append(f.lines, []rune(strings.TrimRight(line, "\r\n")))
	}
	var document, second yaml.Node
	reader := yaml.NewDecoder(bytes.NewReader(data))
	switch err := reader.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, f.refuse(place{1, 1}, "the template is empty; imagebuild init writes one to start from")
	case err != nil:
		at, message := f.explain(err)
		return nil, f.refuse(at, message)
	}
	if err := reader.Decode(&second); err == nil {
		return nil, f.refuse(place{second.Line, second.Column}, "a template is one YAML document; this is a second one")
	} else if !errors.Is(err, io.EOF) {
		at, message := f.explain(err)
		return nil, f.refuse(at, message)
	}
	f.root = document.Content[0]
	if isNull(f.root) {
		return nil, f.refuse(place{1, 1}, "the template is empty; imagebuild init writes one to start from")
	}
	f.structure(f.root, "", &f.faults)
	return f, nil
}

// Path is where the template was read.
func (f *File) Path() string { return f.path }

// Dir is the template's folder.
func (f *File) Dir() string { return f.dir }

// PlatformNames lists the keys of the platforms section, in order. It is for
// completion: nothing was resolved, so nothing was checked.
func (f *File) PlatformNames() []string { return f.names("platforms") }

// VariableNames lists the keys of the variables section, in the same way.
func (f *File) VariableNames() []string { return f.names("variables") }

func (f *File) names(section string) []string {
	var names []string
	for key := range pairs(mapValue(f.root, section)) {
		names = append(names, key.Value)
	}
	return names
}

// Abs returns the file system's path of a file that the template names.
func (f *File) Abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(f.dir, path)
}

func (f *File) position(at place, field string) fault.Position {
	return fault.Position{File: f.path, Line: at.line, Column: at.column, Field: field}
}

func (f *File) refuse(at place, message string) error {
	var faults fault.List
	faults.Add(f.position(at, ""), "%s", message)
	return faults.Err()
}

// structure reports what YAML allows and a template does not: duplicate keys,
// keys that are not text, aliases, tags.
func (f *File) structure(node *yaml.Node, field string, faults *fault.List) {
	if len(*faults) >= MaxFaults {
		return
	}
	at := f.position(place{node.Line, node.Column}, field)
	switch {
	case node.Kind == yaml.AliasNode:
		faults.Add(at, "aliases are not supported; write the value again, or use a variable")
		return
	case node.Anchor != "":
		faults.Add(at, "anchors are not supported; use a variable for what is needed twice")
	case node.Style&yaml.TaggedStyle != 0:
		faults.Add(at, "tags are not supported; remove %s, and put text in quotes", node.Tag)
	}
	switch node.Kind {
	case yaml.SequenceNode:
		for i, item := range node.Content {
			f.structure(item, fmt.Sprintf("%s[%d]", field, i), faults)
		}
	case yaml.MappingNode:
		f.keys(node, field, faults)
	}
}

func (f *File) keys(node *yaml.Node, field string, faults *fault.List) {
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, content := node.Content[i], node.Content[i+1]
		at := f.position(place{key.Line, key.Column}, field)
		switch {
		case len(*faults) >= MaxFaults:
			return
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			faults.Add(at, "merge keys are not supported; write the keys again, or use a variable")
			continue
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || key.Style&yaml.TaggedStyle != 0 || key.Anchor != "":
			faults.Add(at, "a key must be text, and this is %s; put it in quotes", describe(key))
			continue
		}
		within := child(field, key.Value)
		if line, found := first[key.Value]; found {
			at.Field = within
			faults.Add(at, "duplicate key; it is on line %d already", line)
		} else {
			first[key.Value] = key.Line
		}
		f.structure(content, within, faults)
	}
}

func child(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}
