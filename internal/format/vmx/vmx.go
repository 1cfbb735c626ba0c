// Package vmx writes and reads .vmx files, the dictionaries that describe a
// virtual machine to VMware Workstation and Fusion.
//
//	var d vmx.Dictionary
//	d.Set("numvcpus", "2")
//	d.WriteTo(w) // .encoding = "UTF-8"\nnumvcpus = "2"\n
//
// A file is lines of `key = "value"`. Keys are case-insensitive; a later line
// wins over an earlier one. Within a value the pipe, the quote and control
// characters are written as a pipe and two hex digits. It refuses files of
// more than 1 MiB and encodings other than UTF-8 and ASCII.
package vmx

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/org/imagebuild-action/internal/fault"
)

// maxBytes bounds what Parse takes in.
const maxBytes = 1 << 20

// encodingKey names the file's encoding; it comes first.
const encodingKey = ".encoding"

// Dictionary is keys and values in order. The zero value is empty.
type Dictionary struct {
	pairs []pair
	index map[string]int // by lower-case key
}

type pair struct{ key, value string }

// Set gives key a value. A key that is there already keeps its place.
func (d *Dictionary) Set(key, value string) {
	if d.index == nil {
		d.index = map[string]int{}
	}
	if i, ok := d.index[strings.ToLower(key)]; ok {
		d.pairs[i].value = value
		return
	}
	d.index[strings.ToLower(key)] = len(d.pairs)
	d.pairs = append(d.pairs, pair{key, value})
}

// Get returns the value of key, whatever its case.
func (d *Dictionary) Get(key string) (value string, ok bool) {
	i, ok := d.index[strings.ToLower(key)]
	if !ok {
		return "", false
	}
	return d.pairs[i].value, true
}

// True says whether key is set to what VMware takes for true.
func (d *Dictionary) True(key string) bool {
	value, _ := d.Get(key)
	return strings.EqualFold(value, "true") || strings.EqualFold(value, "yes") || value == "1"
}

// Keys returns the keys in order, as they were written.
func (d *Dictionary) Keys() []string {
	keys := make([]string, len(d.pairs))
	for i, p := range d.pairs {
		keys[i] = p.key
	}
	return keys
}

// WriteTo writes the dictionary, the encoding first. It refuses keys that
// could not be read back.
func (d *Dictionary) WriteTo(w io.Writer) (int64, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s = \"UTF-8\"\n", encodingKey)
	for _, p := range d.pairs {
		if !validKey(p.key) || !utf8.ValidString(p.value) {
			return 0, fmt.Errorf("vmx: cannot write key %q with value %q", p.key, p.value)
		}
		if !strings.EqualFold(p.key, encodingKey) {
			fmt.Fprintf(&out, "%s = \"%s\"\n", p.key, escape(p.value))
		}
	}
	return out.WriteTo(w)
}

// Parse reads a .vmx file.
func Parse(r io.Reader) (*Dictionary, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxBytes {
		return nil, fault.Errorf(fault.Input, "vmx: larger than %d bytes", maxBytes)
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	d := &Dictionary{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, maxBytes+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, err := parseLine(line)
		if err != nil {
			return nil, fault.Errorf(fault.Input, "vmx: line %d: %w", n, err)
		}
		d.Set(key, value)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Errorf(fault.Input, "vmx: %w", err)
	}
	if encoding, ok := d.Get(encodingKey); ok && !strings.EqualFold(encoding, "UTF-8") && !ascii(content) {
		return nil, fault.Errorf(fault.Input, "vmx: encoding %q is not supported", encoding)
	}
	if !utf8.Valid(content) {
		return nil, fault.Errorf(fault.Input, "vmx: not in UTF-8")
	}
	return d, nil
}

func parseLine(line string) (key, value string, err error) {
	key, value, ok := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || !validKey(key) {
		return "", "", fmt.Errorf("%q is not key = \"value\"", line)
	}
	if quoted, ok := strings.CutPrefix(value, `"`); ok {
		if value, ok = strings.CutSuffix(quoted, `"`); !ok {
			return "", "", fmt.Errorf("the value of %s has no closing quote", key)
		}
	}
	if value, err = unescape(value); err != nil {
		return "", "", fmt.Errorf("the value of %s: %w", key, err)
	}
	return key, value, nil
}

func validKey(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '=' || r == '"' || r == '#'
	})
}

func escape(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c < ' ' || c == 0x7f || c == '"' || c == '|' {
			fmt.Fprintf(&b, "|%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unescape(value string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(value, "|")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if len(rest) < 2 {
			return "", fmt.Errorf("a pipe without two hex digits")
		}
		code, err := strconv.ParseUint(rest[:2], 16, 8)
		if err != nil {
			return "", fmt.Errorf("|%s is not a pipe and two hex digits", rest[:2])
		}
		b.WriteByte(byte(code))
		value = rest[2:]
	}
}

func ascii(content []byte) bool {
	return !bytes.ContainsFunc(content, func(r rune) bool { return r >= utf8.RuneSelf })
}
