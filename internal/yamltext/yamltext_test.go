package yamltext

import (
	"errors"
	"strings"
	"testing"
)

// TestLocate: a byte of a scalar's value stands where the user wrote it,
// whatever the style.
func TestLocate(t *testing.T) {
	for text, want := range map[string]Place{
		"a: xyZ":               {1, 6},
		"a: 'x''Z'":            {1, 8},
		"a: \"x\\u0041Z\"":     {1, 12},
		"a: |\n  x\n  y Z\n":   {3, 5},
		"a: >-\n    x\n    yZ": {3, 6},
		"b:\r\n  a\r\rc: yZ":   {4, 5},
		"b: 1\u2028c: Z":       {2, 4},
		"a: ä\n  Z":            {2, 3},
	} {
		doc, err := Parse([]byte(text), "text")
		if err != nil {
			t.Fatal(err)
		}
		node := doc.Root.Content[len(doc.Root.Content)-1]
		if got := doc.Lines.Locate(node, strings.IndexByte(node.Value, 'Z')); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"a: \xff": "1:4: the text is not UTF-8", "a: \x01": "1:4: the control character", "a:\n\t b": "2:1: a tab cannot indent",
		"a: [${{ x }}]\nb": "an expression must be in quotes", "a: b\n---\nc: d": "2:1: a text is one YAML document", "a: b\n---\n[": "3:0: ",
	} {
		_, err := Parse([]byte(text), "text")
		var wrong *Error
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"", "# nothing", "null", "\ufeff~"} {
		if doc, err := Parse([]byte(text), "text"); err != nil || doc.Root != nil {
			t.Errorf("%q: %v, %v", text, doc, err)
		}
	}
}
