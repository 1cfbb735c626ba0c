package manifest

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxLine bounds one line of a foreign file or manifest.
const maxLine = 1 << 20

// readStatus parses dpkg's status file (deb-status; paragraphs of fields) and
// returns what is installed. It stops reading at the end of the last paragraph.
func readStatus(r io.Reader) ([]Package, error) {
	var packages []Package
	var current Package
	installed := false
	finish := func() {
		if installed && current.Name != "" {
			packages = append(packages, current)
		}
		current, installed = Package{}, false
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			finish()
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			continue
		}
		value = strings.TrimSpace(value)
		switch key {
		case "Package":
			current.Name = value
		case "Architecture":
			current.Arch = value
		case "Version":
			current.Version = value
		case "Status":
			installed = strings.HasSuffix(value, " installed")
		}
	}
	finish()
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("package list: %w", err)
	}
	return packages, nil
}

// escape keeps every path distinct in JSON, which is UTF-8 only: bytes that
// are not, and "%" itself, become %XX.
func escape(name string) string {
	if utf8.ValidString(name) && !strings.Contains(name, "%") {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && size == 1 || r == '%' {
			fmt.Fprintf(&b, "%%%02X", name[i])
		} else {
			b.WriteString(name[i : i+size])
		}
		i += size
	}
	return b.String()
}

// unescape is the inverse of escape, for the order of paths.
func unescape(name string) string {
	if !strings.Contains(name, "%") {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		var c byte
		if name[i] == '%' && i+2 < len(name) {
			if n, err := fmt.Sscanf(name[i+1:i+3], "%02X", &c); n == 1 && err == nil {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}
