package ci_test

import (
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// workflow is what these tests read of one.
type workflow struct {
	On          yaml.Node         `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Jobs        map[string]job    `yaml:"jobs"`
}

type job struct {
	Permissions map[string]string `yaml:"permissions"`
	Minutes     int               `yaml:"timeout-minutes"`
	Uses        string            `yaml:"uses"`
	Steps       []struct {
		Uses string         `yaml:"uses"`
		With map[string]any `yaml:"with"`
		Run  string         `yaml:"run"`
	} `yaml:"steps"`
}

func parse(t *testing.T, name string, text []byte) workflow {
	t.Helper()
	var w workflow
	if err := yaml.Unmarshal(text, &w); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(w.Jobs) == 0 {
		t.Fatalf("%s has no jobs", name)
	}
	return w
}

// aPin is an action at a commit, with the version that a person can read.
var aPin = regexp.MustCompile(`^\s*(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)

// ownAction is an action or a workflow of this repository.
var ownAction = regexp.MustCompile(`^\s*(- )?uses: \./`)

// unpinned returns the lines of a workflow that use what somebody else could
// exchange.
func unpinned(text []byte) []string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		before, _, _ := strings.Cut(line, "#")
		if strings.Contains(before, "uses:") && !aPin.MatchString(line) && !ownAction.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestPins: the project's own workflows run nobody's code but what was read
// once, and one action is at one commit everywhere.
func TestPins(t *testing.T) {
	versions := map[string]string{}
	for name, text := range workflows(t, ".github/workflows/*.yml", ".github/workflows/*.yaml") {
		for _, line := range unpinned(text) {
			t.Errorf("%s: not pinned by a commit, with its version after it: %s", name, strings.TrimSpace(line))
		}
		for line := range strings.Lines(string(text)) {
			_, use, found := strings.Cut(strings.TrimSpace(line), "uses: ")
			action, at, pinned := strings.Cut(use, "@")
			if !found || !pinned {
				continue
			}
			if versions[action] == "" {
				versions[action] = at
			} else if versions[action] != at {
				t.Errorf("%s: %s is at %s here and at %s elsewhere", name, action, at, versions[action])
			}
		}
	}
	if len(versions) < 3 {
		t.Errorf("only these actions were found: %v", versions)
	}
}

func TestUnpinned(t *testing.T) {
	sha := strings.Repeat("0a", 20)
	for line, want := range map[string]bool{
		"      - uses: actions/checkout@" + sha + " # v5.1.0":      false,
		"        uses: actions/cache/restore@" + sha + " # v5.0.5": false,
		"      - uses: ./":                                                false,
		"    uses: ./.github/workflows/ci.yml":                            false,
		"      # uses: a comment":                                         false,
		"      - uses: actions/checkout@v5":                               true,
		"      - uses: actions/checkout@v5.1.0 # v5.1.0":                  true,
		"      - uses: actions/checkout@" + sha:                           true,
		"      - uses: actions/checkout@" + sha[:12] + " # v5.1.0":        true,
		"      - uses: actions/checkout@" + sha + " # v5":                 true,
		"      - {uses: actions/checkout@v5}":                             true,
		"      - uses: docker://alpine:3.20":                              true,
		"      - uses: \"actions/checkout@main\" # v5.1.0":                true,
		"    uses: someone/else/.github/workflows/ci.yml@main # as it is": true,
	} {
		if got := len(unpinned([]byte(line+"\n"))) > 0; got != want {
			t.Errorf("%q: unpinned %v, want %v", line, got, want)
		}
	}
}

// TestLeastRights: what a job of ours may write is in this table, and nobody
// else may write anything. A job that writes runs no code of a pull request:
// its workflow is started by hand.
func TestLeastRights(t *testing.T) {
	mayWrite := map[string]string{
		".github/workflows/release.yml image packages":        "write",
		".github/workflows/release.yml image id-token":        "write",
		".github/workflows/release.yml image attestations":    "write",
		".github/workflows/release.yml binaries id-token":     "write",
		".github/workflows/release.yml binaries attestations": "write",
		".github/workflows/release.yml tag contents":          "write",
		".github/workflows/release.yml publish contents":      "write",
	}
	for name, text := range workflows(t, ".github/workflows/*.yml") {
		w := parse(t, name, text)
		if w.Permissions == nil {
			t.Errorf("%s says nothing of permissions: its jobs would get the repository's default", name)
		}
		for right, level := range w.Permissions {
			if level != "read" || right != "contents" {
				t.Errorf("%s gives %s: %s to all of its jobs", name, right, level)
			}
		}
		for id, job := range w.Jobs {
			for right, level := range job.Permissions {
				key := name + " " + id + " " + right
				if (level != "read" || right != "contents") && mayWrite[key] != level {
					t.Errorf("%s: %s is not in the table", key, level)
				}
				delete(mayWrite, key)
			}
			if job.Minutes == 0 && job.Uses == "" {
				t.Errorf("%s: the job %s has no timeout-minutes", name, id)
			}
			checkCredentials(t, name, id, job)
		}
	}
	for key := range mayWrite {
		t.Errorf("%s is in the table only", key)
	}
}

// checkCredentials: the token stays in the checkout only where git pushes.
func checkCredentials(t *testing.T, name, id string, j job) {
	t.Helper()
	for _, step := range j.Steps {
		if !strings.HasPrefix(step.Uses, "actions/checkout@") {
			continue
		}
		if kept := step.With["persist-credentials"] != false; kept != (j.Permissions["contents"] == "write") {
			t.Errorf("%s: the checkout of %s keeps the token: %v", name, id, kept)
		}
	}
}

// TestEvents: nothing of ours, nor of what we show, hands a pull request's
// code the secrets of the repository.
func TestEvents(t *testing.T) {
	for name, text := range all(t) {
		w := parse(t, name, text)
		on, err := yaml.Marshal(&w.On)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range []string{"pull_request_target", "workflow_run", "issue_comment"} {
			if strings.Contains(string(on), event) {
				t.Errorf("%s runs on %s", name, event)
			}
		}
		// A step that runs text from outside runs whatever that says.
		for id, job := range w.Jobs {
			for _, step := range job.Steps {
				if strings.Contains(step.Run, "${{") {
					t.Errorf("%s: a run of %s holds an expression; hand it over in env:\n%s", name, id, step.Run)
				}
			}
		}
	}
}
