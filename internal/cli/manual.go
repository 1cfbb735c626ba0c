package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/template"
)

// schemaNode is the part of a JSON Schema that the manual shows.
type schemaNode struct {
	Ref         string                 `json:"$ref"`
	Defs        map[string]*schemaNode `json:"$defs"`
	Description string                 `json:"description"`
	Default     any                    `json:"default"`
	Type        any                    `json:"type"`
	Enum        []any                  `json:"enum"`
	AnyOf       []*schemaNode          `json:"anyOf"`
	Properties  map[string]*schemaNode `json:"properties"`
	Items       *schemaNode            `json:"items"`
	Required    []string               `json:"required"`
	Extra       json.RawMessage        `json:"additionalProperties"`
}

const manualHead = `# The template

Everything that can stand in ` + "`imagebuild.yml`" + `, made from the types that read it (` + "`make docs`" + `).

Any value may hold ` + "`${{ }}`" + ` look-ups: ` + "`var.NAME`, `env.NAME`, `image.name`, `image.version`, `image.tag`, `image.arch`,\n`platform.name`, `platform.type`, `matrix.KEY`" + `, with ` + "`||`" + ` for a default and ` + "`'text'`" + ` for text. A sensitive variable
may stand only in text that runs or is written in the guest.

`

// writeKinds writes the manual of the template.
func writeKinds(path string) error {
	text, err := template.Schema(build.Registry())
	if err != nil {
		return err
	}
	var root schemaNode
	if err := json.Unmarshal(text, &root); err != nil {
		return err
	}
	m := &manual{defs: root.Defs}
	m.out.WriteString(manualHead)
	m.section("Top level", "", &root)
	for _, name := range slices.Sorted(maps.Keys(root.Defs)) {
		node := root.Defs[name]
		if len(node.Properties) == 0 || name == "platforms" || name == "platform" {
			continue
		}
		m.section("`"+strings.Replace(name, "-", "s.", 1)+"`", node.Description, node)
	}
	return writeFile(path, []byte(m.out.String()), 0o644)
}

type manual struct {
	defs map[string]*schemaNode
	out  strings.Builder
}

func (m *manual) section(title, intro string, node *schemaNode) {
	fmt.Fprintf(&m.out, "## %s\n\n", title)
	if intro != "" {
		fmt.Fprintf(&m.out, "%s\n\n", intro)
	}
	m.out.WriteString("| key | value | default | |\n|---|---|---|---|\n")
	m.rows("", node)
	m.out.WriteString("\n")
}

func (m *manual) rows(prefix string, node *schemaNode) {
	for _, name := range slices.Sorted(maps.Keys(node.Properties)) {
		child := node.Properties[name]
		value := m.value(child)
		fallback := ""
		if child.Default != nil && !slices.Contains(node.Required, name) {
			text, _ := json.Marshal(child.Default) // it came from JSON
			fallback = "`" + strings.Trim(string(text), `"`) + "`"
		}
		if slices.Contains(node.Required, name) {
			fallback = "required"
		}
		fmt.Fprintf(&m.out, "| `%s%s` | %s | %s | %s |\n", prefix, name, value, fallback, child.Description)
		if inner, mark := m.inner(child); inner != nil {
			m.rows(prefix+name+mark+".", inner)
		}
	}
}

// inner is the mapping below a value, whose keys get rows of their own.
// Definitions have sections instead.
func (m *manual) inner(node *schemaNode) (inner *schemaNode, mark string) {
	switch {
	case node.Ref != "":
		return nil, ""
	case len(node.Properties) > 0:
		return node, ""
	case node.Items != nil && len(node.Items.Properties) > 0:
		return node.Items, "[]"
	}
	for _, each := range node.AnyOf {
		if len(each.Properties) > 0 {
			return each, ""
		}
	}
	return nil, ""
}

// value says in a word or two what a value may be.
func (m *manual) value(node *schemaNode) string {
	switch {
	case node.Ref == "#/$defs/expression":
		return ""
	case node.Ref == "#/$defs/platforms":
		return "name: platform"
	case node.Ref != "":
		return "see [" + strings.TrimPrefix(node.Ref, "#/$defs/") + "](#" + strings.TrimPrefix(node.Ref, "#/$defs/") + ")"
	case len(node.Enum) > 0:
		words := make([]string, len(node.Enum))
		for i, each := range node.Enum {
			words[i] = fmt.Sprintf("`%v`", each)
		}
		return strings.Join(words, ", ")
	case len(node.AnyOf) > 0:
		var words []string
		for _, each := range node.AnyOf {
			if word := m.value(each); word != "" {
				words = append(words, word)
			}
		}
		return strings.Join(words, " or ")
	case node.Items != nil:
		return "list of " + m.value(node.Items)
	}
	return typeWord(node)
}

func typeWord(node *schemaNode) string {
	kind, ok := node.Type.(string)
	if list, isList := node.Type.([]any); isList && len(list) > 0 {
		kind, ok = list[0].(string)
	}
	switch {
	case !ok:
		return "text"
	case kind == "object" && len(node.Properties) == 0:
		return "name: value"
	case kind == "object":
		return "mapping"
	case kind == "integer":
		return "number"
	case kind == "boolean":
		return "true or false"
	}
	return "text"
}
