package template

import (
	"errors"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
)

// TestHostileSizes has large templates, each made to be
// slow. The test is that it ends.
func TestHostileSizes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	for name, text := range map[string]string{
		"steps":            least + "provision:\n" + strings.Repeat("  - {shell: }\n", 15000),
		"good steps":       least + "provision:\n" + strings.Repeat("  - shell: a b\n", 12000),
		"one line":         "name: x\nprovision: [" + strings.Repeat("\"${{ var.x }}\",", 12000) + "]\n",
		"one scalar":       "name: \"" + strings.Repeat("${{ var.x }}", 20000) + "\"\n",
		"one list":         least + "provision:\n  - shell:\n      inline: x\n      args: [" + strings.Repeat("\"${{ var.x }}\",", 12000) + "]\n",
		"alternatives":     "name: ${{ " + strings.Repeat("env.A || ", 25000) + "env.A }}\n",
		"duplicate keys":   strings.Repeat("a: 1\n", 8000),
		"unknown keys":     strings.Repeat("ab: 1\n", 1) + "x: {" + strings.Repeat("a,", 100000) + "}",
		"many variables":   "variables:\n" + strings.Repeat("  v: {}\n", 25000),
		"deep":             strings.Repeat("[", 25000),
		"deep and closed":  "a: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"deep block":       strings.Repeat("- ", 100000),
		"aliases":          "a: &a [x]\nb: [" + strings.Repeat("*a,", 50000) + "]\n",
		"dollar signs":     "name: " + strings.Repeat("$", 1000000) + "\n",
		"long names":       "name: ${{ var." + strings.Repeat("a", 1000000) + " }}\nvariables: {a: {}}\n",
		"platforms":        "name: x\nplatforms:\n" + platformKeys(8000),
		"long suggestions": "name: x\n" + strings.Repeat("k", 1000000) + ": 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			file, err := Parse("t.yml", []byte(text), testRegistry())
			if err == nil {
				_, err = file.Resolve(Scope{})
			}
			var list fault.List
			if name != "good steps" && !errors.As(err, &list) {
				t.Errorf("got %v", err)
			}
			if len(list) > 2*MaxFaults+1 {
				t.Errorf("%d faults", len(list))
			}
		})
	}
}

func platformKeys(n int) string {
	var text strings.Builder
	for i := range n {
		text.WriteString("  p" + strings.Repeat("0", i%10) + string(rune('a'+i%26)) + ": {type: vmware}\n")
	}
	return text.String()
}
