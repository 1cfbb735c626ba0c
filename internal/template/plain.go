package template

import (
	"encoding"
	"reflect"
	"time"
)

// Plain turns a configuration into maps, lists and scalars under the keys of
// the template, ready for encoding/json, which sorts them. What is zero is
// left out, so that a key added by a later version does not change what earlier
// templates say; a pointer to a zero value stays. With deciding, fields tagged
// digest:"-" are left out too.
func Plain(config any, deciding bool) any {
	if config == nil {
		return nil
	}
	return plain(reflect.ValueOf(config), deciding)
}

func plain(v reflect.Value, deciding bool) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem(), deciding)
	}
	if v.Type() == durationType {
		return time.Duration(v.Int()).String()
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if written, err := m.MarshalText(); err == nil {
			return string(written)
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		m := map[string]any{}
		for _, f := range fieldsOf(v.Type()) {
			content := v.FieldByIndex(f.index)
			empty := content.IsZero() || (content.Kind() == reflect.Slice || content.Kind() == reflect.Map) && content.Len() == 0
			if !empty && (!deciding || !f.inert) {
				m[f.key] = plain(content, deciding)
			}
		}
		return m
	case reflect.Map:
		m := map[string]any{}
		for key, item := range v.Seq2() {
			m[key.String()] = plain(item, deciding)
		}
		return m
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i), deciding)
		}
		return list
	}
	return v.Interface()
}
