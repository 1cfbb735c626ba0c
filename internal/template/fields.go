package template

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/size"
)

// field is a struct's field as its tags describe it.
type field struct {
	key      string
	doc      string
	index    []int
	typ      reflect.Type
	enum     []string
	min, max *int64
	pattern  string // of a string, or of a list's strings
	hint     string // what the pattern means
	keys     string // pattern of a mapping's keys
	required bool
	nonempty bool // a list that is there must have an item
	inert    bool // does not decide the image's bytes
}

// fieldsOf lists the fields of a struct that a template can set. The fields of
// embedded structs count as the struct's own.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Anonymous && key == "" && f.Type.Kind() == reflect.Struct {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				all = append(all, inner)
			}
			continue
		}
		if key == "" || key == "-" || !f.IsExported() {
			continue
		}
		all = append(all, field{
			key: key, doc: f.Tag.Get("doc"), index: []int{i}, typ: f.Type,
			enum: enumOf(f.Type, f.Tag.Get("enum")),
			min:  bound(f.Tag.Get("min")), max: bound(f.Tag.Get("max")),
			pattern: f.Tag.Get("pattern"), hint: f.Tag.Get("hint"), keys: f.Tag.Get("keys"),
			required: f.Tag.Get("required") == "true", nonempty: f.Tag.Get("nonempty") == "true", inert: f.Tag.Get("digest") == "-",
		})
	}
	return all
}

func bound(tag string) *int64 {
	n, err := strconv.ParseInt(tag, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// enumOf returns the values of a field: those of its tag, or those that its
// type, or its element's, knows.
func enumOf(t reflect.Type, tag string) []string {
	if tag != "" {
		return strings.Split(tag, ",")
	}
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if e, ok := reflect.New(t).Interface().(interface{ Enum() []string }); ok {
		return e.Enum()
	}
	return nil
}

var (
	durationType = reflect.TypeFor[time.Duration]()            //nolint:gochecknoglobals // a constant
	sizeType     = reflect.TypeFor[size.Bytes]()               //nolint:gochecknoglobals // a constant
	modeType     = reflect.TypeFor[Mode]()                     //nolint:gochecknoglobals // a constant
	literalType  = reflect.TypeFor[text]()                     //nolint:gochecknoglobals // a constant
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]() //nolint:gochecknoglobals // a constant
)

func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// Check reports what the loader could not decode or describe: it is the rule
// book for kinds. Its errors are bugs.
func (r Registry) Check() error {
	lists := []struct {
		what   string
		kinds  []Kind
		common []field
	}{
		{"source", r.Sources, nil},
		{"step", r.Steps, fieldsOf(reflect.TypeFor[Step]())},
		{"platform", r.Platforms, fieldsOf(reflect.TypeFor[platformHead]())},
	}
	for _, list := range lists {
		seen := map[string]bool{}
		for _, f := range list.common {
			seen[f.key] = list.what == "step" // a platform's own keys stand inside it
		}
		for _, kind := range list.kinds {
			if err := kind.check(list.what, seen, list.common); err != nil {
				return fault.Errorf(fault.Bug, "%s kind %q: %w", list.what, kind.Name, err)
			}
			seen[kind.Name] = true
		}
	}
	return nil
}

func (k Kind) check(what string, seen map[string]bool, common []field) error {
	t := reflect.TypeOf(k.New())
	switch {
	case k.Name == "" || k.Doc == "":
		return fmt.Errorf("a kind needs a name and a doc")
	case seen[k.Name]:
		return fmt.Errorf("the name is taken")
	case t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct:
		return fmt.Errorf("its New must return a pointer to a struct, not %v", t)
	}
	if what == "platform" {
		for _, f := range fieldsOf(t.Elem()) {
			for _, c := range common {
				if f.key == c.key {
					return fmt.Errorf("the key %q is taken by every platform", f.key)
				}
			}
		}
	}
	return checkStruct(t.Elem())
}

func checkStruct(t reflect.Type) error {
	seen := map[string]bool{}
	for _, f := range fieldsOf(t) {
		if seen[f.key] {
			return fmt.Errorf("two fields have the key %q", f.key)
		}
		seen[f.key] = true
		if f.doc == "" {
			return fmt.Errorf("the field %q has no doc", f.key)
		}
		for _, pattern := range []string{f.pattern, f.keys} {
			if _, err := regexp.Compile(pattern); err != nil {
				return fmt.Errorf("the field %q: %w", f.key, err)
			}
		}
		if err := checkType(f.typ); err != nil {
			return fmt.Errorf("the field %q: %w", f.key, err)
		}
	}
	return nil
}

func checkType(t reflect.Type) error {
	if t == durationType || isText(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		return nil
	case reflect.Pointer, reflect.Slice:
		return checkType(t.Elem())
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return checkType(t.Elem())
		}
	case reflect.Struct:
		return checkStruct(t)
	}
	return fmt.Errorf("the type %v is not supported", t)
}
