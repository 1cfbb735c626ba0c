package build_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/testkit"
)

// template writes a template into a folder of its own.
func template(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "imagebuild.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func matrixOptions(templates ...string) build.MatrixOptions {
	return build.MatrixOptions{Templates: templates, Options: build.Options{LookupEnv: func(string) (string, bool) { return "", false }}}
}

func TestTooManyCells(t *testing.T) {
	const rest = "source: {bootstrap: {distribution: debian, release: bookworm}}\nplatforms:\n"
	var templates []string
	for n := range 8 {
		text := fmt.Sprintf("name: many%d\n%s", n, rest)
		for i := range 16 {
			text += fmt.Sprintf("  p%d: {type: libvirt, arch: [amd64, arm64]}\n", i)
		}
		templates = append(templates, template(t, text))
	}
	m, err := build.PlanMatrix(t.Context(), matrixOptions(templates...))
	if err != nil || len(m.Cells) != 256 {
		t.Fatal(err)
	}
	_, err = build.PlanMatrix(t.Context(), matrixOptions(append(templates, template(t, "name: one\n"+rest+"  libvirt: {}\n"))...))
	if err == nil || !strings.Contains(err.Error(), "257 cells, and GitHub takes no more than 256 jobs from one matrix; plan fewer") || fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

// TestFaultsOfAll: what is wrong in several templates is said at once, and
// cancelling is no fault of theirs.
func TestFaultsOfAll(t *testing.T) {
	one, two := template(t, "name: One\n"), template(t, "name: Two\nplatforms: {}\n")
	_, err := build.PlanMatrix(t.Context(), matrixOptions(one, two, filepath.Join(t.TempDir(), "gone.yml")))
	for _, want := range []string{one + ":1:7: name: ", two + ":1:7: name: ", "gone.yml: no such file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := build.PlanMatrix(ctx, matrixOptions(one)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRunners(t *testing.T) {
	path := template(t, "name: a\nsource: {bootstrap: {distribution: debian, release: bookworm}}\nplatforms: {libvirt: {arch: [amd64, arm64]}}\n")
	for want, runners := range map[string]map[string]string{
		"ubuntu-latest ubuntu-24.04-arm": nil,
		"big [self-hosted arm]":          {"amd64": " big ", "arm64": "self-hosted, arm"},
	} {
		o := matrixOptions(path)
		o.Runners = runners
		m, err := build.PlanMatrix(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		first, _ := m.Cells[0].Get("runner")
		second, _ := m.Cells[1].Get("runner")
		if got := fmt.Sprint(first, " ", second); got != want {
			t.Errorf("%v: %s", runners, got)
		}
	}
	o := matrixOptions(path)
	o.Runners = map[string]string{"amd64": ","}
	if _, err := build.PlanMatrix(t.Context(), o); err == nil || !strings.Contains(err.Error(), "want a label") {
		t.Error(err)
	}
}

// TestKeysThatAreVariables: what a cell says of itself must not set a variable
// of the template.
func TestKeysThatAreVariables(t *testing.T) {
	const rest = "source: {bootstrap: {distribution: debian, release: bookworm}}\nplatforms: {libvirt: {}}\n"
	m, err := build.PlanMatrix(t.Context(), matrixOptions(template(t, "name: a\nvariables: {name: {default: x}, digest: {default: y}}\n"+rest)))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, member := range m.Cells[0] {
		keys = append(keys, member.Name)
	}
	if diff := cmp.Diff([]string{"template", "platform", "arch", "runner"}, keys); diff != "" {
		t.Error(diff)
	}
	o := matrixOptions(template(t, "name: a\nvariables: {arch: {default: x}}\n"+rest))
	o.Vars = map[string]string{"arch": "y"}
	if _, err := build.PlanMatrix(t.Context(), o); err == nil || !strings.Contains(err.Error(), "a matrix uses the key arch itself") {
		t.Error(err)
	}
}

const released = `name: web
source: {bootstrap: {distribution: debian, release: bookworm}}
provision: [{shell: "echo ${{ image.version }}"}]
platforms: {libvirt: {}, vmware: {}, virtualbox: {}}
`

// TestSinceRelease: a new version alone is no change, whatever is made of it.
func TestSinceRelease(t *testing.T) {
	path := template(t, released)
	o := matrixOptions(path)
	o.Version = "1.0.0"
	before, err := build.PlanMatrix(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	last := build.Released{Version: "1.0.0", Digests: map[build.CellKey]string{}}
	for i, cell := range before.Cells {
		platform, _ := cell.Get("platform")
		digest, _ := cell.Get("digest")
		if i < 2 { // the third was not released
			last.Digests[build.CellKey{Platform: platform.(string), Arch: "amd64"}] = digest.(string)
		}
	}
	last.Digests[build.CellKey{Platform: "vmware", Arch: "amd64"}] = strings.Repeat("0", 64)
	for name, tt := range map[string]struct {
		found Released
		want  int
	}{"one of three is the same": {last, 1}, "nothing was released": {Released{}, 0}} {
		o.Version = "2.0.0"
		o.Unchanged = build.SinceRelease(func(_ context.Context, image string) (build.Released, error) {
			if image != "web" {
				t.Errorf("asked for %s", image)
			}
			return tt.found, nil
		})
		m, err := build.PlanMatrix(t.Context(), o)
		if err != nil || m.Unchanged != tt.want || len(m.Cells) != 3-tt.want {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	o.Unchanged = build.SinceRelease(func(context.Context, string) (build.Released, error) {
		return build.Released{}, fault.Errorf(fault.Remote, "no answer")
	})
	if _, err := build.PlanMatrix(t.Context(), o); fault.KindOf(err) != fault.Remote {
		t.Error(err)
	}
}

// Released is here for short.
type Released = build.Released

// TestRevisionLeavesNothing: whatever ends it, the files of the revision go.
func TestRevisionLeavesNothing(t *testing.T) {
	testkit.Tool(t, "git")
	t.Setenv("TMPDIR", t.TempDir())
	path := template(t, released)
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "one"}} {
		command := exec.Command("git", args...)
		command.Dir = filepath.Dir(path)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	for _, name := range []string{"HEAD", "nope"} {
		since := &build.Revision{Name: name}
		o := matrixOptions(path, path)
		o.Templates = o.Templates[:1]
		o.Unchanged = since.Unchanged
		m, err := build.PlanMatrix(t.Context(), o)
		if (err == nil) != (name == "HEAD") || err == nil && (m.Unchanged != 3 || len(m.Cells) != 0) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
		if err := since.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
}

func TestFindTemplates(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"a/imagebuild.yml", "a/x/imagebuild.yml", "b/c/imagebuild.yml", "b/.d/imagebuild.yml", "e/other.yaml", "e/README.md"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for names, want := range map[string]string{
		"":                         "a/imagebuild.yml a/x/imagebuild.yml b/c/imagebuild.yml",
		"a":                        "a/imagebuild.yml",
		"b a a/imagebuild.yml ./a": "b/c/imagebuild.yml a/imagebuild.yml",
		"e/*":                      "e/other.yaml",
		"*/imagebuild.yml":         "a/imagebuild.yml",
		"{a,b}/**/imagebuild.yml":  "a/imagebuild.yml a/x/imagebuild.yml b/c/imagebuild.yml",
		filepath.Join(here, "b"):   "b/c/imagebuild.yml",
		"e/other.yaml":             "e/other.yaml",
		"e":                        "!e: there is no imagebuild.yml",
		"f":                        "!f: no such file",
		"f*":                       "!f*: there is no imagebuild.yml",
		"[":                        "![: not a pattern",
	} {
		found, err := build.FindTemplates(strings.Fields(names))
		if wrong, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), wrong) || fault.KindOf(err) != fault.Input {
				t.Errorf("%q: got %v, %v, want %q", names, found, err, wrong)
			}
			continue
		}
		if got := strings.Join(found, " "); got != want || err != nil {
			t.Errorf("%q: got %s, %v, want %s", names, got, err, want)
		}
	}
}
