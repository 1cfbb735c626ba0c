package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/imagebuild-action/internal/fault"
)

func TestVersionOf(t *testing.T) {
	for tag, want := range map[string]string{
		"v1.2.3": "1.2.3", "1.2.3": "1.2.3", "v1": "1", "2026.11.24": "2026.11.24",
		"v1.0.0-rc.1": "1.0.0-rc.1", "v1.0.0-2": "1.0.0-2", "1.0.0-rc-2": "1.0.0-rc-2", "v1.0.0.beta2": "1.0.0.beta2",
		"golden-v1.2.3": "1.2.3", "golden-1.2.3": "1.2.3", "golden/v1.2.3": "1.2.3", "images/golden-v1.2.3": "1.2.3",
		"debian-12-v1.2.3": "1.2.3", "golden@1.2.3": "1.2.3", "golden-v1.2.3-rc.1": "1.2.3-rc.1",
		"latest": "", "v": "", "v1.0.0+build": "", "1.2.x y": "", "golden": "", "1..2": "",
	} {
		got, err := versionOf(tag)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", tag, got, err, want)
		}
	}
}

func TestDecide(t *testing.T) {
	event := func(name, refType, ref string, payload map[string]any) *githubactions.GitHubContext {
		return &githubactions.GitHubContext{EventName: name, RefType: refType, RefName: ref, Repository: "acme/images", Event: payload}
	}
	pull := func(repository string) map[string]any {
		return map[string]any{"pull_request": map[string]any{"head": map[string]any{"repo": map[string]any{"full_name": repository}}}}
	}
	tests := []struct {
		name   string
		github *githubactions.GitHubContext
		in     inputs
		want   decision // but for why
		err    string
	}{
		{"pull request", event("pull_request", "branch", "7/merge", pull("acme/images")), inputs{}, decision{}, ""},
		{"pull request of a fork", event("pull_request", "branch", "7/merge", pull("mallory/images")), inputs{}, decision{fork: true}, ""},
		{"pull request that asks to publish", event("pull_request", "branch", "7/merge", nil), inputs{publish: publishTrue}, decision{}, ""},
		{"merge queue", event("merge_group", "branch", "gh-readonly-queue/main", nil), inputs{publish: publishTrue}, decision{}, ""},
		{"tag", event("push", "tag", "v1.2.3", nil), inputs{}, decision{publish: true, tag: "v1.2.3", version: "1.2.3"}, ""},
		{"tag, not to be published", event("push", "tag", "v1.2.3", nil), inputs{publish: publishFalse}, decision{}, ""},
		{"tag that is no version", event("push", "tag", "latest", nil), inputs{}, decision{}, `tag "latest" is not a version`},
		{"tag that is no version, with one", event("push", "tag", "latest", nil), inputs{version: "2.0"}, decision{publish: true, tag: "latest", version: "2.0"}, ""},
		{"branch", event("push", "branch", "main", nil), inputs{publish: publishAuto}, decision{}, ""},
		{"branch that publishes", event("push", "branch", "main", nil), inputs{publish: publishTrue, version: "3.1"}, decision{publish: true, version: "3.1"}, ""},
		{"by hand", event("workflow_dispatch", "branch", "main", nil), inputs{}, decision{}, ""},
		{"by hand, published under a tag", event("workflow_dispatch", "branch", "main", nil), inputs{publish: publishTrue, tag: "v4"}, decision{publish: true, tag: "v4", version: "4"}, ""},
		{"release", event("release", "tag", "v5.0", map[string]any{"release": map[string]any{"id": 77.0, "tag_name": "v5.0"}}), inputs{}, decision{publish: true, tag: "v5.0", version: "5.0", releaseID: 77}, ""},
		{"foreign code with secrets", event("pull_request_target", "branch", "main", nil), inputs{}, decision{}, "a template is code"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decide(tt.github, tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || fault.KindOf(err) != fault.Input {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.why == "" {
				t.Error("no reason is given")
			}
			if got.why = ""; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestPullRequestTarget: what is checked out decides, wherever git keeps it.
func TestPullRequestTarget(t *testing.T) {
	const base, head = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"
	tests := []struct {
		name  string
		files map[string]string
		ok    bool
	}{
		{"the base, detached", map[string]string{"HEAD": base + "\n"}, true},
		{"the base, by a branch", map[string]string{"HEAD": "ref: refs/heads/main\n", "refs/heads/main": base + "\n"}, true},
		{"the base, packed", map[string]string{"HEAD": "ref: refs/heads/main\n", "packed-refs": "# pack-refs with: peeled\n" + head + " refs/heads/x\n" + base + " refs/heads/main\n"}, true},
		{"the pull request", map[string]string{"HEAD": head + "\n"}, false},
		{"no checkout", nil, false},
		{"a ref outside", map[string]string{"HEAD": "ref: ../../HEAD\n"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			workspace := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(workspace, ".git", name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			d, err := decide(&githubactions.GitHubContext{EventName: "pull_request_target", SHA: base, Workspace: workspace}, inputs{publish: publishTrue})
			if (err == nil) != tt.ok || d.publish {
				t.Errorf("publish %v, error %v", d.publish, err)
			}
		})
	}
}
