package actionfile_test

import (
	"os"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/actionfile"
)

const path = "../../action.yml"

func readAction(t *testing.T) (*actionfile.File, []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := actionfile.Parse(path, text)
	if err != nil {
		t.Fatal(err)
	}
	return f, text
}

// TestActionFitsGitHubsSchema: what the runner will read is what it can read.
func TestActionFitsGitHubsSchema(t *testing.T) {
	_, text := readAction(t)
	for _, fault := range readSchema(t).judge(text) {
		t.Error(fault)
	}
}

// TestActionIsReadRight: the names that internal/action, the Dockerfile and
// the workflows of users rely on.
func TestActionIsReadRight(t *testing.T) {
	f, _ := readAction(t)
	for name, fallback := range map[string]string{
		"command": "build", "template": "", "platform": "", "arch": "", "matrix": "${{ toJSON(matrix) }}",
		"job-index": "${{ strategy.job-index }}", "job-total": "${{ strategy.job-total }}", "version": "",
		"variables": "", "publish": "auto", "tag": "", "release-id": "", "complete-when": "template",
		"github-token": "${{ github.token }}", "kvm": "auto", "output": "out", "cache-dir": "", "until": "verify", "changed-since": "", "changed-since-release": "false", "aws-role": "",
	} {
		if input, ok := f.Input(name); !ok || input.Default != fallback {
			t.Errorf("input %s: %v, default %q; want %q", name, ok, input.Default, fallback)
		}
	}
	if len(f.Inputs) != 21 {
		t.Errorf("%d inputs, want 21: add the new one here and to internal/action", len(f.Inputs))
	}
	var outputs []string
	for _, output := range f.Outputs {
		outputs = append(outputs, output.Name)
	}
	if got, want := strings.Join(outputs, " "), "artifacts digests ami-ids version plan-digest release-url release-id manifest accelerator matrix cache-key cache-restore-keys output"; got != want {
		t.Errorf("outputs: %s\nwant:    %s", got, want)
	}
	want := actionfile.Runs{
		Image: f.Runs.Image, Entrypoint: "/usr/local/bin/imagebuild-action",
		PostEntrypoint: "/usr/local/bin/imagebuild-action-post", PostIf: "always()",
	}
	if got := f.Runs; got.Entrypoint != want.Entrypoint || got.PostEntrypoint != want.PostEntrypoint || got.PostIf != want.PostIf || got.Env != nil {
		t.Errorf("runs: %+v, want %+v", got, want)
	}
	// The marketplace shows no more than that.
	if len(f.Description) > 125 {
		t.Errorf("the description has %d characters; the marketplace takes 125", len(f.Description))
	}
}

// TestRefused: one change to action.yml, judged by our reader and by GitHub's
// schema. An empty verdict is an acceptance.
func TestRefused(t *testing.T) {
	pinned := "docker://ghcr.io/org/imagebuild-action@sha256:" + strings.Repeat("0a", 32)
	tests := []struct{ name, old, changed, ours, github string }{
		{"unchanged", "", "", "", ""},
		{"pinned image", "image: Dockerfile", "image: " + pinned, "", ""},
		{"image by tag", "image: Dockerfile", "image: docker://ghcr.io/org/imagebuild-action:v1", "want Dockerfile, or docker://", ""},
		{"image elsewhere", "image: Dockerfile", "image: ../Dockerfile", "want Dockerfile, or docker://", ""},
		{"short digest", "image: Dockerfile", "image: docker://ghcr.io/org/imagebuild-action@sha256:0a0a", "want Dockerfile, or docker://", ""},
		{"secret as default", "${{ github.token }}", "${{ secrets.GITHUB_TOKEN }}", "", "secrets may not be used here"},
		{"environment as default", "default: out", "default: ${{ env.OUT }}", "", "env may not be used here"},
		{"input as default", "default: out", "default: ${{ inputs.tag }}", "", "inputs may not be used here"},
		{"hash as default", "default: out", "default: ${{ hashFiles('imagebuild.yml') }}", "", ""},
		{"broken expression", "toJSON(matrix)", "toJSON(matrix", "", "unexpected end of input"},
		{"unknown function", "toJSON(matrix)", "toYAML(matrix)", "", "toYAML may not be used here"},
		{"expression in a description", "The version of the image.", "The version, ${{ github.ref }}.", "", "no expression may stand here"},
		{"arguments", "  post-if: always()", "  args: [--main]", `unknown key "args"`, ""},
		{"options", "  post-if: always()", "  options: --privileged", `unknown key "options"`, "runs.options: unknown key"},
		{"condition on a secret", "post-if: always()", "post-if: always() && secrets.X", "", "secrets may not be used here"},
		{"javascript", "using: docker", "using: node24", "only docker actions", ""},
		{"no image", "  image: Dockerfile\n", "", "runs.image: is missing", "runs.image is missing"},
		{"unknown key", "author: ", "authors: ", `unknown key "authors"`, "authors: unknown key"},
		{"unknown key of an input", "    default: out", "    fallback: out", `unknown key "fallback"`, ""},
		{"twice", "  platform:\n", "  Template:\n", `"Template" is there twice`, "inputs.Template is there twice"},
		{"number as default", "default: out", "default: 5", "inputs.output.default: want text", ""},
		{"unknown icon", "icon: package", "icon: parcel", "", `"parcel" is not one of branding-icon`},
		{"unknown colour", "color: blue", "color: teal", "", `"teal" is not one of branding-color`},
		{"no description", "    description: The version of the image.\n", "    description: ''\n", "outputs.version: has no description", ""},
		{"no mapping", "branding:\n  icon: package\n  color: blue\n", "branding: blue\n", "branding: want a mapping", "branding: want a mapping"},
		{"strange name", "  output:\n    description: The folder for", "  out_put:\n    description: The folder for", "want lower-case words", ""},
		{"no yaml", "name: imagebuild", "name: [", "yaml: ", "yaml: "},
	}
	_, text := readAction(t)
	rules := readSchema(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(string(text), tt.old) {
				t.Fatalf("action.yml has no %q", tt.old)
			}
			changed := strings.Replace(string(text), tt.old, tt.changed, 1)
			_, err := actionfile.Parse("action.yml", []byte(changed))
			verdict(t, "our reader", message(err), tt.ours)
			verdict(t, "GitHub's schema", strings.Join(rules.judge([]byte(changed)), "\n"), tt.github)
			if err != nil && !strings.HasPrefix(err.Error(), "action.yml:") {
				t.Errorf("the error does not begin with its place: %v", err)
			}
		})
	}
	if _, err := actionfile.Parse("action.yml", nil); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty file: %v", err)
	}
	if _, err := actionfile.Load("testdata/none.yml"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func verdict(t *testing.T, who, got, want string) {
	t.Helper()
	if got != want && (want == "" || !strings.Contains(got, want)) {
		t.Errorf("%s says %q, want %q", who, got, want)
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestFill: exactly what stands between the marks is exchanged.
func TestFill(t *testing.T) {
	b, e := actionfile.Begin+"\n", actionfile.End+"\n"
	for _, tt := range []struct{ name, text, want string }{
		{"filled", "a\n" + b + "old\n" + e + "z\n", "a\n" + b + "\nnew\n\n" + e + "z\n"},
		{"again", "a\n" + b + "\nnew\n\n" + e + "z\n", "a\n" + b + "\nnew\n\n" + e + "z\n"},
		{"empty", b + e, b + "\nnew\n\n" + e},
		{"no begin", "a\n" + e, ""},
		{"no end", b, ""},
		{"wrong order", e + b, ""},
		{"two begins", b + b + e, ""},
		{"begin again", b + e + b, ""},
		{"two ends", b + e + e, ""},
	} {
		got, err := actionfile.Fill([]byte(tt.text), "new\n")
		if string(got) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestManual: a table's cell stays one cell, and what is deprecated is in the
// manual only.
func TestManual(t *testing.T) {
	f := &actionfile.File{
		Inputs: []actionfile.Input{
			{Name: "mode", Description: "a | b\nand more", Default: "a"},
			{Name: "gone", Description: "Was a mode.", Deprecated: "use mode"},
		},
		Outputs: []actionfile.Output{{Name: "made", Description: "What was made."}},
	}
	want := "| input | default | |\n|---|---|---|\n| `mode` | `a` | a \\| b and more |\n\n| output | |\n|---|---|\n| `made` | What was made. |\n"
	if got := f.Tables(); got != want {
		t.Errorf("tables:\n%s\nwant:\n%s", got, want)
	}
	manual := f.Manual()
	for _, part := range []string{"### `mode`\n\na | b\nand more\n\nDefault: `a`\n", "### `gone`\n\nWas a mode.\n\nDeprecated: use mode\n", "### `made`\n\nWhat was made.\n"} {
		if !strings.Contains(manual, part) {
			t.Errorf("the manual has no %q:\n%s", part, manual)
		}
	}
}
