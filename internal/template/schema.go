package template

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/org/imagebuild-action/internal/fault"
)

// object is a JSON value in the making; encoding/json sorts its keys.
type object = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of templates, for editors. It
// is generated from the types that the loader decodes into, so it accepts
// whatever the loader accepts. It cannot see everything that the loader
// refuses: files that are missing, variables without a value, rules in
// Validate.
func Schema(reg Registry) ([]byte, error) {
	if err := reg.Check(); err != nil {
		return nil, err
	}
	g := generator{registry: reg}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(g.document()); err != nil {
		return nil, fault.Errorf(fault.Bug, "encode the schema: %w", err)
	}
	return out.Bytes(), nil
}

type generator struct {
	registry Registry
}

func ref(name string) object { return object{"$ref": "#/$defs/" + name} }

func (g *generator) document() object {
	doc := newDocument()
	schema := g.structure(reflect.ValueOf(&doc).Elem())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "imagebuild template"
	schema["type"] = "object"
	defs := object{
		"expression": object{"type": "string", "pattern": `\$\{\{`, "description": "A string with ${{ }} in it."},
		"variable":   g.structure(reflect.ValueOf(&variable{}).Elem()),
		"source":     g.source(),
		"provision":  g.step(g.registry.Steps),
		"test":       g.step(slices.DeleteFunc(slices.Clone(g.registry.Steps), func(k Kind) bool { return !k.Test })),
	}
	g.platforms(defs)
	schema["$defs"] = defs

	properties := schema["properties"].(object)
	set := func(key string, more object) {
		for name, item := range properties[key].(object) {
			more[name] = item
		}
		properties[key] = more
	}
	set("variables", object{
		"type": []string{"object", "null"}, "propertyNames": object{"pattern": variablePattern}, "additionalProperties": ref("variable"),
	})
	set("source", ref("source"))
	set("provision", object{"type": "array", "minItems": 1, "items": ref("provision")})
	set("test", object{"type": "array", "minItems": 1, "items": ref("test")})
	set("platforms", ref("platforms"))
	return schema
}

// structure describes a struct, with what it holds for the defaults.
func (g *generator) structure(v reflect.Value) object {
	properties := object{}
	var required []string
	for _, f := range fieldsOf(v.Type()) {
		property := g.value(f.typ, f, v.FieldByIndex(f.index))
		property["description"] = f.doc
		properties[f.key] = property
		if f.required {
			required = append(required, f.key)
		}
	}
	schema := object{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	if required != nil {
		schema["type"], schema["required"] = "object", required
	}
	return schema
}

// value describes a type. holding is its default; it may be invalid.
func (g *generator) value(t reflect.Type, f field, holding reflect.Value) object {
	if t == nodeType {
		return object{}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
		if holding.IsValid() {
			holding = holding.Elem()
		}
	}
	if t == durationType || isText(t) || t.Kind() != reflect.Slice && t.Kind() != reflect.Map && t.Kind() != reflect.Struct {
		schema := leaf(t, f)
		if holding.IsValid() && (!holding.IsZero() || t.Kind() == reflect.Bool) {
			schema["default"] = plain(holding, false)
		}
		return schema
	}
	switch t.Kind() {
	case reflect.Slice:
		schema := object{"type": "array", "items": g.value(t.Elem(), f, reflect.Value{})}
		if f.nonempty {
			schema["minItems"] = 1
		}
		if holding.IsValid() && holding.Len() > 0 {
			schema["default"] = plain(holding, false)
		}
		return schema
	case reflect.Map:
		schema := object{"type": "object", "additionalProperties": g.value(t.Elem(), f, reflect.Value{})}
		if item := t.Elem(); item.Kind() == reflect.String && !isText(item) {
			schema["additionalProperties"] = object{"type": []string{"string", "number", "boolean"}}
		}
		if f.keys != "" {
			schema["propertyNames"] = object{"pattern": f.keys}
		}
		return schema
	}
	if !holding.IsValid() {
		holding = reflect.New(t).Elem()
	}
	return g.structure(holding)
}

// leaf describes what is written as one word. Where not any text will do, an
// expression will.
func leaf(t reflect.Type, f field) object {
	var own object
	switch {
	case t == literalType:
		return object{"type": []string{"string", "number", "boolean"}}
	case t == durationType:
		own = object{"type": "string", "pattern": durationPattern}
	case t == sizeType:
		own = object{"type": "string", "pattern": `^\s*\+?[0-9]+\s*([KMGTkmgt]([iI]?[bB])?|[bB])?\s*$`}
	case t == modeType:
		own = object{"type": "string", "pattern": ModePattern}
	case t.Kind() == reflect.Bool && !isText(t):
		own = object{"type": "boolean"}
	case t.Kind() != reflect.String && !isText(t):
		own = object{"type": "integer"}
		if f.min != nil {
			own["minimum"] = *f.min
		}
		if f.max != nil {
			own["maximum"] = *f.max
		}
	case f.enum != nil:
		own = object{"enum": f.enum}
	case f.pattern != "":
		own = object{"type": "string", "pattern": f.pattern}
	default:
		return object{"type": "string"}
	}
	return object{"anyOf": []object{own, ref("expression")}}
}

// config describes a kind.
func (g *generator) config(kind Kind) object {
	configured := kind.New()
	schema := g.structure(reflect.ValueOf(configured).Elem())
	if _, ok := configured.(Scalar); ok {
		schema = object{"anyOf": []object{{"type": "string"}, schema}}
	}
	schema["description"] = kind.Doc
	return schema
}

func (g *generator) source() object {
	properties := object{}
	for _, kind := range g.registry.Sources {
		properties[kind.Name] = g.config(kind)
	}
	return object{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1}
}

func (g *generator) step(kinds []Kind) object {
	schema := g.structure(reflect.ValueOf(&Step{Timeout: DefaultTimeout}).Elem())
	var one []object
	for _, kind := range kinds {
		schema["properties"].(object)[kind.Name] = g.config(kind)
		one = append(one, object{"required": []string{kind.Name}})
	}
	schema["type"], schema["oneOf"] = "object", one
	schema["not"] = object{"required": []string{"only", "except"}}
	return schema
}

// platforms describes the section: a key that is a kind needs no type, and
// with a type any key will do.
func (g *generator) platforms(defs object) {
	names := kindNames(g.registry.Platforms)
	typed := object{"type": "object", "required": []string{"type"}}
	known := object{}
	var cases []object
	for _, kind := range g.registry.Platforms {
		schema := g.config(kind)
		head := platformHead{Arch: newPlatformHead("").Arch}
		for key, property := range g.structure(reflect.ValueOf(&head).Elem())["properties"].(object) {
			schema["properties"].(object)[key] = property
		}
		schema["properties"].(object)["type"] = object{
			"anyOf": []object{{"enum": names}, ref("expression")}, "description": "Kind of the platform; its key unless given.",
		}
		name := "platform-" + kind.Name
		defs[name] = schema
		cases = append(cases, object{
			"if":   object{"properties": object{"type": object{"const": kind.Name}}},
			"then": ref(name),
		})
		known[kind.Name] = object{
			"if": object{"type": "object", "required": []string{"type"}}, "then": ref("platform"), "else": ref(name),
		}
	}
	if cases != nil {
		typed["allOf"] = cases
	}
	typed["properties"] = object{"type": object{"anyOf": []object{{"enum": names}, ref("expression")}}}
	defs["platform"] = typed
	defs["platforms"] = object{
		"type": "object", "minProperties": 1, "propertyNames": object{"pattern": NamePattern},
		"properties": known, "additionalProperties": ref("platform"),
	}
}
