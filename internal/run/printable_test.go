package run

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"plain":           {"a line\n\tand another", "a line\n\tand another"},
		"umlauts":         {"grün 漢字", "grün 漢字"},
		"colour":          {"\x1b[31mred\x1b[0m", "red"},
		"cursor":          {"\x1b[2J\x1b[1;1Hok", "ok"},
		"window title":    {"a\x1b]0;owned\x07b", "ab"},
		"clipboard":       {"a\x1b]52;c;cm0gLXJmIC8=\x1b\\b", "ab"},
		"device control":  {"a\x1bP1$r0m\x1b\\b", "ab"},
		"eight bits":      {"a\u009b31mb", "a31mb"},
		"bell and others": {"a\a\b\x00\x7fb\r", "ab"},
		"not UTF-8":       {"a\xffb", "a\ufffdb"},
	} {
		if got := Printable(test.in); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestLinesAndTailsArePrintable(t *testing.T) {
	var lines []string
	w := LineWriter(func(line string) { lines = append(lines, line) })
	tail := &Tail{}
	for _, each := range []string{"one\x1b[3", "1mtwo\r\n", "\x1b]0;x\a\x1b[2J", "three"} { // sequences come in pieces
		_, _ = w.Write([]byte(each))
		_, _ = tail.Write([]byte(each))
	}
	_ = w.Close()
	if got := strings.Join(lines, "|"); got != "onetwo|three" {
		t.Errorf("lines %q", got)
	}
	if got := tail.String(); got != "onetwo\nthree" {
		t.Errorf("tail %q", got)
	}
}

func FuzzPrintable(f *testing.F) {
	for _, each := range []string{"", "a\x1b[31m", "\x1b]0;", "\x9b", "\x1b\x1b\x1b[", "\xf0\x9f"} {
		f.Add(each)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Printable(text)
		if !utf8.ValidString(got) {
			t.Errorf("%q: not UTF-8", got)
		}
		for _, r := range got {
			if r < 0x20 && r != '\n' && r != '\t' || 0x7f <= r && r < 0xa0 {
				t.Errorf("%q became %q", text, got)
			}
		}
		if again := Printable(got); again != got {
			t.Errorf("%q became %q, and then %q", text, got, again)
		}
	})
}
