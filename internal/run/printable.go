package run

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Printable makes a program's or a guest's text safe for a terminal, a log and
// an error: without the escape sequences and control characters with which it
// could move the cursor, rename the window, fill the clipboard or hide what it
// says. Newlines and tabs stay. What is no UTF-8 becomes U+FFFD.
func Printable(text string) string {
	if plainText(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r < 0x20, 0x7f <= r && r < 0xa0: // C0, DEL and C1 of ECMA-48
			return -1
		}
		return r
	}, ansi.Strip(strings.ToValidUTF8(text, "�")))
}

// plainText is true for nearly every line there is.
func plainText(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}
