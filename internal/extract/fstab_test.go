package extract

import (
	"path"
	"strings"
	"testing"
)

func FuzzFstab(f *testing.F) {
	f.Add("UUID=1-2 /boot ext4 defaults 0 2\n# comment\nLABEL=\"a\\040b\" /mnt/a\\040b auto nofail\n")
	f.Add("/dev/sda2 //var/../x swap sw\n\\777 \\0")
	volumes := []*volume{{number: 1, uuid: "1-2"}, {number: 2, label: "a b", partUUID: "x", partLabel: "y"}}
	f.Fuzz(func(t *testing.T, text string) {
		var dropped []string
		for _, line := range parse(text) {
			if line.at == "" || strings.HasPrefix(line.at, "/") || path.Clean(line.at) != line.at || line.at == ".." || strings.HasPrefix(line.at, "../") {
				t.Errorf("%q is mounted at %q", line.text, line.at)
			}
			if _, err := line.volume(volumes); err == nil {
				dropped = append(dropped, line.text)
			}
		}
		if left := without(text, dropped); len(left) > len(text) {
			t.Errorf("%q is longer than %q", left, text)
		}
	})
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`/mnt/a\040b`: "/mnt/a b", `\011\134`: "\t\\", `\400`: `\400`, `\04`: `\04`, "plain": "plain"} {
		if got := unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
