package template

import (
	"fmt"
	"strings"
)

// suggest returns `; did you mean "x"?` for the known word nearest to what was
// written, else the list of known words.
func suggest(written string, known []string) string {
	best, distance := "", len(written)/3+2
	for _, word := range known {
		if d := edits(strings.ToLower(written), word); d < distance {
			best, distance = word, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %q?", best)
	case len(known) > 0:
		return "; known are " + strings.Join(known, ", ")
	}
	return ""
}

// edits counts the single-character edits between two words, and a swap of
// neighbours as one.
func edits(a, b string) int {
	if max(len(a), len(b)) > 64 {
		return 64
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
