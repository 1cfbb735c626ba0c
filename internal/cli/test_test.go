package cli

import (
	"strings"
	"testing"
)

func TestHeadline(t *testing.T) {
	for command, want := range map[string]string{
		"nginx -t":                      "nginx -t",
		"\n  nginx -t\n":                "nginx -t",
		"set -e\nnginx -t":              "set -e ...",
		strings.Repeat("ü", 61):         strings.Repeat("ü", 60) + "...",
		strings.Repeat("ü", 61) + "\nx": strings.Repeat("ü", 60) + "...",
	} {
		if got := headline(command); got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
}
