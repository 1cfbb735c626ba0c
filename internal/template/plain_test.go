package template

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

// change makes v something that it was not.
func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem())) // to a zero value, which says something too
			return
		}
		change(v.Elem())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Slice:
		item := reflect.New(v.Type().Elem()).Elem()
		change(item)
		v.Set(reflect.Append(v, item))
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		item := reflect.New(v.Type().Elem()).Elem()
		change(item)
		m.SetMapIndex(reflect.ValueOf(fmt.Sprint("key", v.Len())).Convert(v.Type().Key()), item)
		v.Set(m)
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			if !f.inert {
				change(v.FieldByIndex(f.index))
				return
			}
		}
	default:
		if v.CanInt() {
			v.SetInt(v.Int() + 1)
		} else {
			v.SetUint(v.Uint() + 1)
		}
	}
}

// TestPlainCovers changes every field of every kind, and of the kinds' inner
// structs: the deciding form must follow, unless the field is inert.
func TestPlainCovers(t *testing.T) {
	reg := testRegistry()
	for _, kinds := range [][]Kind{reg.Sources, reg.Steps, reg.Platforms} {
		for _, kind := range kinds {
			covers(t, kind.Name, kind.New, func(config any) reflect.Value { return reflect.ValueOf(config).Elem() })
		}
	}
}

func covers(t *testing.T, path string, create func() any, at func(any) reflect.Value) {
	t.Helper()
	for _, f := range fieldsOf(at(create()).Type()) {
		config := create()
		before := encode(t, Plain(config, true))
		change(at(config).FieldByIndex(f.index))
		if changed := before != encode(t, Plain(config, true)); changed == f.inert {
			t.Errorf("%s.%s: inert %v, and yet the deciding form changed: %v", path, f.key, f.inert, changed)
		}
		if before == encode(t, Plain(config, false)) {
			t.Errorf("%s.%s does not show", path, f.key)
		}
		if f.typ.Kind() == reflect.Slice && f.typ.Elem().Kind() == reflect.Struct {
			grown := func() any {
				config := create()
				list := at(config).FieldByIndex(f.index)
				list.Set(reflect.MakeSlice(f.typ, 1, 1))
				return config
			}
			covers(t, path+"."+f.key+"[0]", grown, func(config any) reflect.Value { return at(config).FieldByIndex(f.index).Index(0) })
		}
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
