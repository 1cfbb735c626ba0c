// Package ci_test judges the workflows that the project has, gives as
// examples and writes for its users, and the scripts that its own ones run.
package ci_test

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"

	"github.com/org/imagebuild-action/internal/testkit"
)

const root = "../.."

// workflows returns the files that match, which have jobs in them.
func workflows(t *testing.T, patterns ...string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("\njobs:")) { // others there are templates
				found[name] = text
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("no workflow matches %v", patterns)
	}
	return found
}

// starters are the workflows that init writes: beside the starter template,
// and in the root of a repository that has its templates elsewhere.
func starters(t *testing.T) map[string][]byte {
	t.Helper()
	dir, found := t.TempDir(), map[string][]byte{}
	for name, folders := range map[string]string{"single": "", "many": ".git"} {
		folder := filepath.Join(dir, name, "image")
		if err := os.MkdirAll(filepath.Join(dir, name, folders), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "run", "./cmd/imagebuild", "init", folder)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("init: %v\n%s", err, out)
		}
		err := filepath.WalkDir(filepath.Join(dir, name), func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.Contains(path, ".github/workflows/") {
				found[".github/workflows/init-"+name+".yml"], err = os.ReadFile(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) != 2 {
		t.Fatalf("init wrote %d workflows, want 2", len(found))
	}
	return found
}

// all are the workflows that the linter reads.
func all(t *testing.T) map[string][]byte {
	found := workflows(t, ".github/workflows/*.yml", "examples/workflows/*.yml")
	maps.Copy(found, starters(t))
	if len(found) < 8 {
		t.Errorf("only %d workflows were found", len(found))
	}
	return found
}

// mistaken are what actionlint 1.7.12 says of action.yml and GitHub does not:
// it looks for an entry point beside action.yml, where the runner hands it to
// the container, and knows post-if for JavaScript only, where the runner's
// schema has it for both (see internal/actionfile/testdata/github).
var mistaken = []*regexp.Regexp{
	regexp.MustCompile(`^file "/usr/local/bin/imagebuild-action" does not exist in .* "entrypoint" key`),
	regexp.MustCompile(`^file "/usr/local/bin/imagebuild-action-post" does not exist in .* "post-entrypoint" key`),
	regexp.MustCompile(`^"post-if" is not allowed in "runs" section because "imagebuild" is a Docker action`),
}

// lint returns what actionlint says of a workflow. What users read as the
// published action is this repository's: its inputs and outputs are checked.
func lint(t *testing.T, name, shellcheck string, text []byte) []*actionlint.Error {
	t.Helper()
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	project, err := actionlint.NewProject(absolute)
	if err != nil {
		t.Fatal(err)
	}
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{Shellcheck: shellcheck, WorkingDir: absolute})
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("org/imagebuild-action@v1"), []byte("./"))
	faults, err := linter.Lint(filepath.Join(absolute, name), text, project)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(faults, func(fault *actionlint.Error) bool {
		return slices.ContainsFunc(mistaken, func(m *regexp.Regexp) bool { return m.MatchString(fault.Message) })
	})
}

// TestWorkflows: actionlint, with shellcheck for what they run, finds nothing.
func TestWorkflows(t *testing.T) {
	shellcheck := testkit.Tool(t, "shellcheck")
	for name, text := range all(t) {
		for _, fault := range lint(t, name, shellcheck, text) {
			t.Error(fault)
		}
	}
}

// TestLinterSees: the check above would notice what matters most.
func TestLinterSees(t *testing.T) {
	shellcheck := testkit.Tool(t, "shellcheck")
	text, err := os.ReadFile(filepath.Join(root, "examples/workflows/multi-template.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, changed, want string }{
		{"command: plan", "comand: plan", `input "comand" is not defined in action`},
		{"steps.plan.outputs.matrix", "steps.plan.outputs.cells", `property "cells" is not defined`},
		{"needs: plan\n", "needs: plans\n", `"plans"`},
		{"run: exit 1", "run: exit $X", "SC2086"},
		{"runs-on: ubuntu-latest", "runs-on: ubuntu-late", "ubuntu-late"},
		{"permissions: {contents: read}", "permissions: {content: read}", "content"},
	} {
		if !bytes.Contains(text, []byte(tt.old)) {
			t.Fatalf("the example has no %q", tt.old)
		}
		var messages []string
		for _, fault := range lint(t, "examples/workflows/x.yml", shellcheck, bytes.Replace(text, []byte(tt.old), []byte(tt.changed), 1)) {
			messages = append(messages, fault.Message)
		}
		if !strings.Contains(strings.Join(messages, "\n"), tt.want) {
			t.Errorf("%s: actionlint says %q, want %q", tt.changed, messages, tt.want)
		}
	}
}

// TestScripts: shellcheck finds nothing in the scripts that CI runs.
func TestScripts(t *testing.T) {
	shellcheck := testkit.Tool(t, "shellcheck")
	var scripts []string
	for _, pattern := range []string{".github/scripts/*.sh", ".ci/*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, found...)
	}
	if len(scripts) < 8 {
		t.Fatalf("only %v", scripts)
	}
	if out, err := command(t, "", shellcheck, append([]string{"--external-sources", "--source-path=SCRIPTDIR"}, scripts...)...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, script := range scripts {
		info, err := os.Stat(script)
		if err != nil {
			t.Fatal(err)
		}
		if library := filepath.Base(script) == "lib.sh"; library == (info.Mode()&0o100 != 0) {
			t.Errorf("%s: mode %v", script, info.Mode())
		}
	}
}

// TestExamplesAreListed: the page beside the examples names each of them.
func TestExamplesAreListed(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "examples/workflows/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range workflows(t, "examples/workflows/*.yml") {
		if base := filepath.Base(name); !bytes.Contains(page, []byte("| ["+base+"]("+base+") |")) {
			t.Errorf("examples/workflows/README.md does not list %s", base)
		}
	}
}
