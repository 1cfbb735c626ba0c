package workflow

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
)

// The keys of a matrix that choose what is built. Every other one that the
// template declares as a variable sets it.
const (
	KeyTemplate = "template"
	KeyPlatform = "platform"
	KeyArch     = "arch"
)

// Inputs are what a job says besides its matrix. What is not empty wins over
// the matrix.
type Inputs struct {
	Template  string
	Platforms []string
	Arch      string
	Vars      map[string]string
}

// Known is what the chosen template has.
type Known struct {
	Platforms []string
	Variables []string
}

// Choice is what is to be built.
type Choice struct {
	Platforms []string          // empty: all that the template has
	Arch      string            // empty: all that the template has
	Vars      map[string]string // variables of the template
	Matrix    map[string]string // for ${{ matrix.KEY }}: every key, lists and objects as JSON
}

// Template is the template that a job builds, or empty when it names none.
func Template(matrix Object, in Inputs) (string, error) {
	if in.Template != "" {
		return in.Template, nil
	}
	return word(matrix, KeyTemplate)
}

// Select decides what a job builds of its template:
//
//   - platform and arch choose the cell; without them all of it is built;
//   - a key that is a variable of the template sets it, but for null;
//   - all keys can be looked up as ${{ matrix.KEY }}, and others do nothing;
//   - in.Platforms, in.Arch and in.Vars win over the matrix.
func Select(matrix Object, in Inputs, known Known) (Choice, error) {
	c := Choice{Platforms: in.Platforms, Arch: in.Arch, Vars: map[string]string{}, Matrix: map[string]string{}}
	platform, err := word(matrix, KeyPlatform)
	if err != nil {
		return c, err
	}
	if len(c.Platforms) == 0 && platform != "" {
		if !slices.Contains(known.Platforms, platform) {
			return c, fault.Errorf(fault.Input, "matrix.platform %q is not a platform of the template; it has %s", platform, strings.Join(known.Platforms, ", "))
		}
		c.Platforms = []string{platform}
	}
	for _, name := range in.Platforms {
		if !slices.Contains(known.Platforms, name) {
			return c, fault.Errorf(fault.Input, "%q is not a platform of the template; it has %s", name, strings.Join(known.Platforms, ", "))
		}
	}
	if c.Arch == "" {
		if c.Arch, err = word(matrix, KeyArch); err != nil {
			return c, err
		}
	}
	for _, m := range matrix {
		c.Matrix[m.Name] = Text(m.Value)
		chooses := m.Name == KeyTemplate || m.Name == KeyPlatform || m.Name == KeyArch
		if !chooses && m.Value != nil && slices.Contains(known.Variables, m.Name) {
			c.Vars[m.Name] = Text(m.Value)
		}
	}
	for name, value := range in.Vars {
		c.Vars[name] = value
	}
	return c, nil
}

// word is a key of the matrix that has to be one word; a key that is null or
// empty counts as none.
func word(matrix Object, key string) (string, error) {
	switch value, _ := matrix.Get(key); v := value.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		return "", fault.Errorf(fault.Input, "matrix.%s: want text, found %s", key, describe(value))
	}
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`) //nolint:gochecknoglobals // compiled once

// ParseVariables reads variables from the text of an input: lines of
// name=value, as --var has them, or a YAML mapping of name: value.
func ParseVariables(text string) (map[string]string, error) {
	if vars := variablesFromYAML(text); vars != nil {
		return vars, nil
	}
	vars, n := map[string]string{}, 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !found || !variableName.MatchString(name) {
			// The line may hold a secret: it is not repeated.
			return nil, fault.Errorf(fault.Input, "line %d: want lines of name=value, or a mapping of name: value", n)
		}
		vars[name] = strings.TrimSpace(value)
	}
	return vars, nil
}

// variablesFromYAML returns nil for what is not a mapping of names to scalars.
func variablesFromYAML(text string) map[string]string {
	var document yaml.Node
	if yaml.Unmarshal([]byte(text), &document) != nil || document.Kind != yaml.DocumentNode || document.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	vars := map[string]string{}
	for key, content := range members(document.Content[0]) {
		if !variableName.MatchString(key.Value) || content.Kind != yaml.ScalarNode {
			return nil
		}
		vars[key.Value] = content.Value // as it is written: 1.10 stays so
	}
	return vars
}
