package workflow

import (
	"iter"
	"math"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// resolve follows an alias to what it stands for.
func resolve(node *yaml.Node) *yaml.Node {
	for depth := 0; node != nil && node.Kind == yaml.AliasNode && depth < maxDepth; depth++ {
		node = node.Alias
	}
	return node
}

// members iterates over a mapping's keys and values; nil has none.
func members(node *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, content *yaml.Node) bool) {
		if node = resolve(node); node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i], resolve(node.Content[i+1])) {
				return
			}
		}
	}
}

// get returns what a mapping has under a key, or nil.
func get(node *yaml.Node, key string) *yaml.Node {
	for k, content := range members(node) {
		if k.Value == key {
			return content
		}
	}
	return nil
}

// items lists a sequence's items; nil has none.
func items(node *yaml.Node) []*yaml.Node {
	if node = resolve(node); node == nil || node.Kind != yaml.SequenceNode {
		return nil
	}
	return node.Content
}

// The words of YAML 1.2's core schema (section 10.3.2), which GitHub follows.
// The YAML library's own resolution knows more: dates, binary numbers, digits
// with underscores. For GitHub these are text.
var (
	decimal = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`) //nolint:gochecknoglobals // compiled once
	based   = regexp.MustCompile(`^(0x[0-9a-fA-F]+|0o[0-7]+)$`)                           //nolint:gochecknoglobals // compiled once
)

// literal is the value of a scalar in which no expression stands.
func literal(node *yaml.Node) any {
	text := node.Value
	if node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 || node.Tag == "!!str" && node.Style&yaml.TaggedStyle != 0 {
		return text
	}
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF":
		return math.Inf(1)
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1)
	case ".nan", ".NaN", ".NAN":
		return math.NaN()
	}
	if based.MatchString(text) {
		if n, err := strconv.ParseUint(strings.ToLower(text), 0, 31); err == nil {
			return float64(n)
		}
	}
	if decimal.MatchString(text) {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	}
	return text
}
