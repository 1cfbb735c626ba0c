package vm

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/org/imagebuild-action/internal/fault"
)

// Chord is keys that are pressed together, by QEMU's names (QKeyCode in
// qapi/ui.json), as shift and a.
type Chord []string

// maxChords bounds one text: QEMU's own queue holds 1024 presses, releases and
// pauses, and drops what is more.
const maxChords = 200

// ParseKeys reads a text as it is typed on a US keyboard. Keys that print
// nothing stand in angle brackets, alone or after modifiers: <enter>, <f2>,
// <ctrl-alt-delete>. <lt> is the sign itself. A character that the keyboard
// does not have is refused with its position, counted in characters from 1.
func ParseKeys(text string) ([]Chord, error) {
	var chords []Chord
	for at, rest := 1, text; rest != ""; {
		chord, used, err := parseKey(rest)
		if err != nil {
			return nil, fault.Errorf(fault.Input, "keys, character %d: %w", at, err)
		}
		if chords = append(chords, chord); len(chords) > maxChords {
			return nil, fault.Errorf(fault.Input, "keys, character %d: more than %d keys; split them, with a wait in between", at, maxChords)
		}
		at += utf8.RuneCountInString(rest[:used])
		rest = rest[used:]
	}
	return chords, nil
}

func parseKey(text string) (chord Chord, used int, err error) {
	r, size := utf8.DecodeRuneInString(text)
	if r != '<' {
		chord, ok := printed(r)
		if !ok {
			return nil, 0, fmt.Errorf("%q is not on a US keyboard; other keys have names, as <enter>", r)
		}
		return chord, size, nil
	}
	name, _, ended := strings.Cut(text[1:], ">")
	if !ended || len(name) > 40 {
		return nil, 0, fmt.Errorf("the name of a key does not end; write > after it, and <lt> for the sign itself")
	}
	used = len(name) + len("<>")
	parts := strings.Split(name, "-")
	for _, modifier := range parts[:len(parts)-1] {
		if !slices.Contains([]string{"shift", "ctrl", "alt", "meta"}, modifier) {
			return nil, 0, fmt.Errorf("<%s>: %q is not a modifier; use shift, ctrl, alt or meta", name, modifier)
		}
		if modifier == "meta" {
			modifier = "meta_l"
		}
		chord = append(chord, modifier)
	}
	key := parts[len(parts)-1]
	if code, ok := namedKeys[key]; ok {
		return append(chord, code...), used, nil
	}
	if r, size := utf8.DecodeRuneInString(key); size == len(key) && len(chord) > 0 {
		if more, ok := printed(r); ok {
			return append(chord, more...), used, nil
		}
	}
	return nil, 0, fmt.Errorf("<%s>: there is no such key; known are f1 to f12 and %s", name, strings.Join(knownKeys(), ", "))
}

// printed returns the keys for a character that prints.
func printed(r rune) (Chord, bool) {
	switch {
	case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
		return Chord{string(r)}, true
	case 'A' <= r && r <= 'Z':
		return Chord{"shift", string(r - 'A' + 'a')}, true
	}
	if code, ok := plainKeys[r]; ok {
		return Chord{code}, true
	}
	if code, ok := shiftedKeys[r]; ok {
		return Chord{"shift", code}, true
	}
	return nil, false
}

var (
	plainKeys = map[rune]string{
		' ': "spc", '\n': "ret", '\t': "tab", '-': "minus", '=': "equal", '[': "bracket_left", ']': "bracket_right",
		';': "semicolon", '\'': "apostrophe", '`': "grave_accent", '\\': "backslash", ',': "comma", '.': "dot", '/': "slash",
	}
	shiftedKeys = map[rune]string{
		'_': "minus", '+': "equal", '{': "bracket_left", '}': "bracket_right", ':': "semicolon", '"': "apostrophe",
		'~': "grave_accent", '|': "backslash", '>': "dot", '?': "slash",
		'!': "1", '@': "2", '#': "3", '$': "4", '%': "5", '^': "6", '&': "7", '*': "8", '(': "9", ')': "0",
	}
	namedKeys = func() map[string]Chord {
		m := map[string]Chord{
			"enter": {"ret"}, "esc": {"esc"}, "tab": {"tab"}, "space": {"spc"}, "backspace": {"backspace"}, "delete": {"delete"},
			"insert": {"insert"}, "home": {"home"}, "end": {"end"}, "pageup": {"pgup"}, "pagedown": {"pgdn"},
			"up": {"up"}, "down": {"down"}, "left": {"left"}, "right": {"right"}, "lt": {"shift", "comma"},
		}
		for i := 1; i <= 12; i++ {
			f := "f" + strconv.Itoa(i)
			m[f] = Chord{f}
		}
		return m
	}()
)

func knownKeys() []string {
	var names []string
	for name := range namedKeys {
		if name[0] != 'f' {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// keyHold is how long QEMU keeps a key down, in milliseconds: long enough for
// every firmware to notice, short enough that nothing repeats.
const keyHold = 20

// SendKeys types a text, as ParseKeys reads it. It returns when QEMU has all of
// it, which is before the guest has: wait for the screen after it.
func (m *Machine) SendKeys(ctx context.Context, text string) error {
	chords, err := ParseKeys(text)
	if err != nil {
		return err
	}
	type key struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	for _, chord := range chords {
		keys := make([]key, len(chord))
		for i, code := range chord {
			keys[i] = key{"qcode", code}
		}
		if _, err := m.control.execute(ctx, "send-key", map[string]any{"keys": keys, "hold-time": keyHold}); err != nil {
			return fmt.Errorf("type %s: %w", strings.Join(chord, "-"), err)
		}
	}
	return nil
}
