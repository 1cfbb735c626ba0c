package template

import (
	"iter"
	"reflect"
	"strconv"

	"gopkg.in/yaml.v3"
)

// pairs iterates over a mapping's keys and values, in order.
func pairs(node *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, content *yaml.Node) bool) {
		if node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i], node.Content[i+1]) {
				return
			}
		}
	}
}

// mapValue returns what a mapping has under a key, or nil.
func mapValue(node *yaml.Node, key string) *yaml.Node {
	for k, content := range pairs(node) {
		if k.Value == key {
			return content
		}
	}
	return nil
}

// keyOf returns the node of a key itself, or the mapping when it has no such
// key.
func keyOf(node *yaml.Node, key string) *yaml.Node {
	for k := range pairs(node) {
		if k.Value == key {
			return k
		}
	}
	return node
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// describe says what a node is, for messages.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch node.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!str":
		return "the text " + strconv.Quote(shorten(node.Value))
	case "!!bool":
		return node.Value
	case "!!timestamp":
		return "the date " + node.Value
	}
	return "the number " + shorten(node.Value)
}

func shorten(text string) string {
	const most = 40
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// wanted says what a type accepts, for messages.
func wanted(t reflect.Type) string {
	switch t {
	case durationType:
		return "a duration like 5m"
	case sizeType:
		return "a size like 8GiB"
	case modeType:
		return `a file mode in quotes like "0644"`
	}
	if isText(t) {
		return "text"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list of " + plural(t.Elem())
	case reflect.Map:
		return "a mapping of " + plural(t.Elem())
	case reflect.Struct:
		return "a mapping"
	}
	return "a whole number"
}

func plural(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == durationType:
		return "durations"
	case t == sizeType:
		return "sizes"
	case t == modeType:
		return "file modes"
	case t.Kind() == reflect.String || isText(t):
		return "strings"
	case t.Kind() == reflect.Bool:
		return "true or false values"
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		return "mappings"
	case t.Kind() == reflect.Slice:
		return "lists"
	}
	return "whole numbers"
}
