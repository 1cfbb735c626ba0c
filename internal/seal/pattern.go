package seal

import (
	"path"
	"strings"
)

// pattern is one of tree.Remove's: "*" stays within a segment, "**" is one or
// more whole segments.
type pattern struct {
	prefix   string // literal beginning: a cheap test first
	segments []string
}

func compile(text string) pattern {
	text = strings.Trim(text, "/")
	prefix, _, wild := strings.Cut(text, "*")
	if i := strings.IndexAny(prefix, "?[\\"); i >= 0 {
		prefix, wild = prefix[:i], true
	}
	if !wild {
		prefix = text
	}
	return pattern{prefix, strings.Split(text, "/")}
}

func (p pattern) match(name string) bool {
	return strings.HasPrefix(name, p.prefix) && matchSegments(p.segments, strings.Split(name, "/"))
}

func match(text, name string) bool { return compile(text).match(name) }

func matchSegments(pattern, segments []string) bool {
	if len(pattern) == 0 || len(segments) == 0 {
		return len(pattern) == len(segments)
	}
	if pattern[0] == "**" {
		for i := 1; i <= len(segments); i++ {
			if matchSegments(pattern[1:], segments[i:]) {
				return true
			}
		}
		return false
	}
	ok, err := path.Match(pattern[0], segments[0])
	return err == nil && ok && matchSegments(pattern[1:], segments[1:])
}
