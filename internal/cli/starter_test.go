package cli

import (
	"io"
	"os"
	"testing"

	"github.com/rhysd/actionlint"
)

// TestStarterWorkflows: what init writes is what GitHub takes.
func TestStarterWorkflows(t *testing.T) {
	for name, setup := range map[string]func(){
		"the starter": func() {},
		"a template of its own": func() {
			write(t, "imagebuild.yml", "name: a\nplatforms: {libvirt: {arch: [arm64]}, \"a: b\": {type: vmware}}\n")
		},
		"in a repository": func() {
			if err := os.Mkdir("../.git", 0o755); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			testApp(t, nil)
			if err := os.Mkdir("sub", 0o755); err != nil {
				t.Fatal(err)
			}
			t.Chdir("sub")
			setup()
			files, _, err := starterFiles(".", false)
			if err != nil {
				t.Fatal(err)
			}
			linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			w := files[len(files)-1]
			faults, err := linter.Lint(w.path, w.content, nil)
			if err != nil || len(faults) > 0 {
				t.Errorf("%v, %v in\n%s", faults, err, w.content)
			}
		})
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
