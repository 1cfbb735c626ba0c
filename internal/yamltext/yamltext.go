// Package yamltext reads one YAML document and keeps where everything in it
// stands, so that a fault can be shown on its line.
//
//	doc, err := yamltext.Parse(text, "template")
//	at := doc.Lines.Locate(node, 12) // the place of a scalar's 13th byte
//
// It refuses what is not UTF-8 text, what is not YAML, and a second document.
// What the YAML means is its caller's business.
package yamltext

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// opening begins an expression, in templates as in workflows.
const opening = "${{"

// Place is a line and a column, both from one, the column in characters; zero
// means unknown.
type Place struct{ Line, Column int }

// Error is a fault of the text as such.
type Error struct {
	Place
	Message string
}

// Error is the message with its place.
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// Lines are the lines of a text, without their ends.
type Lines [][]rune

// Document is a text that is sound YAML.
type Document struct {
	Root  *yaml.Node // nil when the document is empty
	Lines Lines
}

// Parse reads a document. noun is what the document is to the user, for the
// messages: "template". Its error is an *Error.
func Parse(data []byte, noun string) (*Document, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors write a byte order mark
	if at, message := unreadable(data, noun); message != "" {
		return nil, &Error{at, message}
	}
	d := &Document{Lines: lines(string(data))}
	var first, second yaml.Node
	reader := yaml.NewDecoder(bytes.NewReader(data))
	switch err := reader.Decode(&first); {
	case errors.Is(err, io.EOF):
		return d, nil
	case err != nil:
		at, message := d.Lines.explain(err)
		return nil, &Error{at, message}
	}
	if err := reader.Decode(&second); err == nil {
		return nil, &Error{Place{second.Line, second.Column}, "a " + noun + " is one YAML document; this is a second one"}
	} else if !errors.Is(err, io.EOF) {
		at, message := d.Lines.explain(err)
		return nil, &Error{at, message}
	}
	if root := first.Content[0]; root.Kind != yaml.ScalarNode || root.ShortTag() != "!!null" {
		d.Root = root
	}
	return d, nil
}

// breaks are what the YAML library takes for the end of a line (YAML 1.1,
// section 5.4); a carriage return with a line feed is one.
const breaks = "\n\r\u0085\u2028\u2029"

func lines(text string) Lines {
	var all Lines
	for text != "" {
		i := strings.IndexAny(text, breaks)
		if i < 0 {
			return append(all, []rune(text))
		}
		all = append(all, []rune(text[:i]))
		_, width := utf8.DecodeRuneInString(text[i:])
		if strings.HasPrefix(text[i:], "\r\n") {
			width = 2
		}
		text = text[i+width:]
	}
	return all
}
