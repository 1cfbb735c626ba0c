package yamltext

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unreadable finds the first byte that has no business in a text file.
func unreadable(data []byte, noun string) (Place, string) {
	at := Place{1, 1}
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			return at, "the " + noun + " is not UTF-8; save it as UTF-8 text"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85,
			r == 0xfeff, r == 0xfffe, r == 0xffff:
			return at, "the control character " + strconv.QuoteRuneToASCII(r) + " cannot stand in a " + noun + "; remove it"
		}
		at.Column++
		if r == '\n' {
			at.Line, at.Column = at.Line+1, 1
		}
		data = data[n:]
	}
	return Place{}, ""
}

// syntaxLine takes the message of a YAML parser apart.
var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`) //nolint:gochecknoglobals // compiled once

// explain turns a YAML parser's error into a place and a message with a
// remedy for the two mistakes that everybody makes.
func (l Lines) explain(err error) (Place, string) {
	message, line := err.Error(), 1
	if parts := syntaxLine.FindStringSubmatch(message); parts != nil {
		message = parts[2]
		if n, err := strconv.Atoi(parts[1]); err == nil {
			line = n
		}
	}
	// The parser's line is where it gave up: the mistake is there or just
	// before it.
	for n := max(1, line-1); n <= min(line+1, len(l)); n++ {
		text := string(l[n-1])
		if i := strings.IndexByte(text, '\t'); i >= 0 && strings.TrimLeft(text[:i], " -") == "" {
			return Place{n, i + 1}, "a tab cannot indent; use spaces"
		}
	}
	for n := max(1, line-1); n <= min(line+1, len(l)); n++ {
		text := string(l[n-1])
		if i := strings.Index(text, opening); i >= 0 && strings.ContainsAny(text[:i], "{[") {
			return Place{n, utf8.RuneCountInString(text[:i]) + 1}, "inside { } and [ ] an expression must be in quotes: " + message
		}
	}
	return Place{min(line, max(1, len(l))), 0}, message
}
