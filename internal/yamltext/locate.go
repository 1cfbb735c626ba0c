package yamltext

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Locate returns the place in the file of the byte at offset in a scalar's
// value. The value and what the user wrote differ in white space (folding,
// indentation) and in quoting; so both are walked side by side, white space
// left out. Where they cannot be matched, the scalar's own place is returned.
func (l Lines) Locate(node *yaml.Node, offset int) Place {
	fallback := Place{node.Line, node.Column}
	raw := cursor{lines: l, Place: fallback}
	if raw.peek() == 0 {
		return fallback
	}
	switch {
	case node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		raw.Line, raw.Column = raw.Line+1, 1 // the content starts under the indicator
	case node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		raw.next()
	}
	for i, want := range node.Value {
		if unicode.IsSpace(want) {
			if i >= offset {
				break
			}
			continue
		}
		at, got := raw.character(node.Style)
		if got != want {
			return fallback
		}
		if i >= offset {
			return at
		}
	}
	return raw.Place
}

// cursor reads the file's characters, one line after the other.
type cursor struct {
	lines Lines
	Place
}

// peek returns the character under the cursor: '\n' at a line's end, zero at
// the file's.
func (c *cursor) peek() rune {
	if c.Line < 1 || c.Line > len(c.lines) {
		return 0
	}
	line := c.lines[c.Line-1]
	if c.Column < 1 || c.Column > len(line) {
		return '\n'
	}
	return line[c.Column-1]
}

func (c *cursor) next() rune {
	r := c.peek()
	if r == '\n' {
		c.Line, c.Column = c.Line+1, 1
	} else {
		c.Column++
	}
	return r
}

// character returns the next character of a scalar's value that is not white
// space, and where it begins.
func (c *cursor) character(style yaml.Style) (Place, rune) {
	for {
		at := c.Place
		r := c.next()
		switch {
		case r == 0:
			return at, 0
		case unicode.IsSpace(r):
			continue
		case r == '\'' && style&yaml.SingleQuotedStyle != 0:
			c.next() // a quote is written twice
		case r == '\\' && style&yaml.DoubleQuotedStyle != 0:
			if r = c.escape(); unicode.IsSpace(r) {
				continue
			}
		}
		return at, r
	}
}

// escape reads what follows a backslash (YAML 1.2, section 5.7).
func (c *cursor) escape() rune {
	const letters, values = "0abtnvfre_NLP", "\x00\a\b\t\n\v\f\r\x1b\u00a0\u0085\u2028\u2029"
	r := c.next()
	if digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[r]; digits > 0 {
		var hex strings.Builder
		for range digits {
			hex.WriteRune(c.next())
		}
		n, err := strconv.ParseUint(hex.String(), 16, 32)
		if err != nil || n > unicode.MaxRune {
			return utf8.RuneError
		}
		return rune(n)
	}
	if i := strings.IndexRune(letters, r); i >= 0 {
		return []rune(values)[i]
	}
	return r
}
