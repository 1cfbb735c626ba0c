package bootstrap

import (
	"fmt"
	"os"
	"strings"
)

// keyring is where a distribution's keys are, and in which package.
type keyring struct{ path, pkg string }

var keyrings = map[string]keyring{ //nolint:gochecknoglobals // a constant table
	"debian": {"/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"},
	"ubuntu": {"/usr/share/keyrings/ubuntu-archive-keyring.gpg", "ubuntu-keyring or ubuntu-archive-keyring"},
}

// releases lists a distribution's releases, for suggestions: those that the
// package distro-info-data knows, else some well-known ones.
func releases(distribution string) []string {
	if data, err := os.ReadFile("/usr/share/distro-info/" + distribution + ".csv"); err == nil {
		var names []string
		for line := range strings.Lines(string(data)) {
			if fields := strings.Split(line, ","); len(fields) > 2 {
				names = append(names, fields[2])
			}
		}
		return names
	}
	if distribution == "ubuntu" {
		return []string{"focal", "jammy", "noble", "plucky", "questing"}
	}
	return []string{"bullseye", "bookworm", "trixie", "forky", "sid"}
}

// meant returns `; did you mean "x"?` when a known word is near.
func meant(written string, known []string) string {
	best, distance := "", min(3, len(written)/2)
	for _, word := range known {
		if d := edits(written, word, distance); d < distance {
			best, distance = word, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// edits counts the letters to insert, remove or replace between two words; it
// may stop counting at limit.
func edits(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
