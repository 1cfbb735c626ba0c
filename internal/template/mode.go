package template

import (
	"fmt"
	"strconv"
)

// Mode is a file mode written as quoted octal, as in mode: "0644": permission
// bits with setuid 04000, setgid 02000 and sticky 01000. Without its quotes
// YAML would read a number, and readers disagree on its base; so the decoder
// refuses that.
type Mode uint32

// maxMode has every bit set that a mode may have.
const maxMode Mode = 0o7777

// ModePattern is the regular expression that a written mode matches.
const ModePattern = `^[0-7]{3,4}$`

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || len(text) < 3 || len(text) > 4 || Mode(n) > maxMode {
		return fmt.Errorf(`%q is not a file mode; write three or four octal digits in quotes, like "0644"`, text)
	}
	*m = Mode(n)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// String renders four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }
