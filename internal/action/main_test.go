package action

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/vm"
)

// stage is a job as the runner sets it up, for a test in this process.
type stage struct {
	t         *testing.T
	workspace string
	env       map[string]string
}

const exampleTemplate = `name: golden
version: "0.5.0"
variables:
  release: {default: bookworm}
  token: {env: API_TOKEN, sensitive: true, required: false}
source:
  bootstrap: {distribution: debian, release: "${{ var.release }}", packages: [linux-image-amd64, openssh-server]}
provision:
  - shell: "true"
platforms: {virtualbox: {}, libvirt: {}}
`

// newStage is a push to main, in a repository that has the example template.
func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{t: t, workspace: filepath.Join(dir, "workspace"), env: map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch",
		"GITHUB_REPOSITORY": "octo/images", "GITHUB_SHA": strings.Repeat("1", 40), "GITHUB_RUN_ID": "42", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "image",
		"GITHUB_OUTPUT": filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"), "GITHUB_STATE": filepath.Join(dir, "state"),
		"GITHUB_EVENT_PATH": filepath.Join(dir, "event.json"), "HOME": filepath.Join(dir, "home"),
		"INPUT_MATRIX": "{\n  \"platform\": \"libvirt\"\n}", "INPUT_JOB-INDEX": "0", "INPUT_JOB-TOTAL": "2",
	}}
	s.env["GITHUB_WORKSPACE"] = s.workspace
	s.write("imagebuild.yml", exampleTemplate)
	s.event(map[string]any{})
	return s
}

func (s *stage) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.workspace, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) event(payload map[string]any) {
	s.t.Helper()
	text, err := json.Marshal(payload)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.env["GITHUB_EVENT_PATH"], text, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// tag makes it the push of a tag.
func (s *stage) tag(name string) {
	s.env["GITHUB_REF"], s.env["GITHUB_REF_NAME"], s.env["GITHUB_REF_TYPE"] = "refs/tags/"+name, name, "tag"
}

func (s *stage) read(variable string) string {
	text, _ := os.ReadFile(s.env[variable])
	return string(text)
}

// run runs a stage and returns what a person, and what the runner, sees of it.
func (s *stage) run(which Stage) (code int, obeyed, shown []string) {
	s.t.Helper()
	var log bytes.Buffer
	code = Main(s.t.Context(), Process{
		Argv: []string{MainName}, Stdin: strings.NewReader(""), Stdout: &log, Generator: "imagebuild test",
		LookupEnv: func(name string) (string, bool) { v, ok := s.env[name]; return v, ok },
	}, which)
	obeyed, shown = runner(s.t, log.String())
	return code, obeyed, shown
}

// TestBadInput: each mistake is one annotation that says what to do.
func TestBadInput(t *testing.T) {
	tests := []struct {
		name string
		edit func(*stage, *githubtest.Server)
		code int
		want string // of the one annotation
	}{
		{"no token", func(s *stage, _ *githubtest.Server) { s.tag("v1.0.0") }, 2, "input github-token: there is none"},
		{"a token without rights", func(s *stage, server *githubtest.Server) {
			s.tag("v1.0.0")
			s.env["INPUT_GITHUB-TOKEN"] = server.Token(githubtest.Read)
		}, 2, "contents: write"},
		{"a token that is none", func(s *stage, _ *githubtest.Server) {
			s.tag("v1.0.0")
			s.env["INPUT_GITHUB-TOKEN"] = "ghs_nonsense"
		}, 2, "token"},
		{"a tag that is no version", func(s *stage, server *githubtest.Server) {
			s.tag("nightly")
			s.env["INPUT_GITHUB-TOKEN"] = server.Token(githubtest.Write)
		}, 2, `the tag "nightly" is not a version`},
		{
			"unknown platform in the matrix", func(s *stage, _ *githubtest.Server) { s.env["INPUT_MATRIX"] = `{"platform": "vmwear"}` }, 2,
			`matrix.platform "vmwear" is not a platform of the template; it has virtualbox, libvirt`,
		},
		{"a matrix that is no JSON", func(s *stage, _ *githubtest.Server) { s.env["INPUT_MATRIX"] = `{platform}` }, 2, "matrix"},
		{"template outside the workspace", func(s *stage, _ *githubtest.Server) { s.env["INPUT_TEMPLATE"] = "../imagebuild.yml" }, 2, "is outside the workspace"},
		{"template by an absolute path", func(s *stage, _ *githubtest.Server) { s.env["INPUT_TEMPLATE"] = "/etc/passwd" }, 2, "is outside the workspace"},
		{"template behind a link", func(s *stage, _ *githubtest.Server) {
			if err := os.Symlink("/etc", filepath.Join(s.workspace, "elsewhere")); err != nil {
				s.t.Fatal(err)
			}
			s.env["INPUT_TEMPLATE"] = "elsewhere/passwd"
		}, 2, "is outside the workspace"},
		{"no template", func(s *stage, _ *githubtest.Server) { s.env["INPUT_TEMPLATE"] = "images/none.yml" }, 2, "images/none.yml: no such file"},
		{"output outside the workspace", func(s *stage, _ *githubtest.Server) { s.env["INPUT_OUTPUT"] = "/etc" }, 2, "input output: /etc is outside the workspace"},
		{"a template with a fault", func(s *stage, _ *githubtest.Server) {
			s.write("imagebuild.yml", strings.Replace(exampleTemplate, "shell:", "shel:", 1))
		}, 2, "provision[0]"},
		{"an input with a wrong value", func(s *stage, _ *githubtest.Server) { s.env["INPUT_PUBLISH"] = "yes" }, 2, `input publish: "yes": want one of auto, true, false`},
		{"a role that is none", func(s *stage, _ *githubtest.Server) { s.env["INPUT_AWS-ROLE"] = "images" }, 2, `input aws-role: "images": want the ARN of a role`},
		{"variables that are none", func(s *stage, _ *githubtest.Server) { s.env["INPUT_VARIABLES"] = "release" }, 2, "input variables: line 1: want lines of name=value"},
		{"a variable that the template lacks", func(s *stage, _ *githubtest.Server) { s.env["INPUT_VARIABLES"] = "relase=trixie" }, 2, "relase"},
		{"foreign code with secrets", func(s *stage, _ *githubtest.Server) { s.env["GITHUB_EVENT_NAME"] = "pull_request_target" }, 2, "use on: pull_request"},
		{"hardware virtualisation where there is none", func(s *stage, _ *githubtest.Server) {
			if accel, _, err := vm.ChooseAccel(vm.Auto); err == nil && accel == vm.KVM {
				s.t.Skip("this machine has it")
			}
			s.env["INPUT_KVM"] = "required"
		}, 3, "input kvm: required: "},
		{"publishing what is not made", func(s *stage, server *githubtest.Server) {
			s.tag("v1.0.0")
			s.env["INPUT_UNTIL"] = "provision"
			s.env["INPUT_GITHUB-TOKEN"] = server.Token(githubtest.Write)
		}, 2, "input until: provision"},
		{"closing a release that is not there", func(s *stage, server *githubtest.Server) {
			s.tag("v1.0.0")
			s.env["INPUT_COMMAND"] = "release"
			s.env["INPUT_GITHUB-TOKEN"] = server.Token(githubtest.Write)
		}, 2, `there is no release for tag "v1.0.0"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := githubtest.New(t, githubtest.Options{})
			s := newStage(t)
			s.env["GITHUB_API_URL"], s.env["GITHUB_SERVER_URL"], s.env["GITHUB_REPOSITORY"] = server.APIURL(), server.URL(), server.Repository()
			tt.edit(s, server)
			code, obeyed, shown := s.run(StageMain)
			var errors []string
			for _, line := range obeyed {
				if message, ok := strings.CutPrefix(line, "error "); ok {
					errors = append(errors, message)
				}
			}
			if code != tt.code || len(errors) != 1 || !strings.Contains(errors[0], tt.want) {
				t.Errorf("exit code %d, annotations %q, want one with %q\n%s", code, errors, tt.want, strings.Join(shown, "\n"))
			}
			if releases := server.Releases(); len(releases) != 0 {
				t.Errorf("a release was made: %+v", releases)
			}
			if text := s.read("GITHUB_STEP_SUMMARY"); tt.code == 2 && s.env["INPUT_COMMAND"] == "" && len(s.read("GITHUB_STATE")) > 0 && !strings.Contains(text, "**Failed:**") {
				t.Errorf("the summary does not say that it failed:\n%s", text)
			}
			if code, obeyed, _ := s.run(StagePost); code != 0 {
				t.Errorf("the post stage: exit code %d, %q", code, obeyed)
			}
		})
	}
}

// TestNoMatrix: a job without a matrix builds all of the template, and is told
// what it is missing. The build itself ends at a cache folder that cannot be.
func TestNoMatrix(t *testing.T) {
	for _, matrix := range []string{"", "null", "{}"} {
		s := newStage(t)
		s.env["INPUT_MATRIX"], s.env["INPUT_JOB-TOTAL"], s.env["INPUT_CACHE-DIR"] = matrix, "1", "imagebuild.yml/no-folder"
		code, obeyed, _ := s.run(StageMain)
		notice := "notice this job has no matrix, so it builds all 2 cells itself"
		if code != 3 || !slices.ContainsFunc(obeyed, func(line string) bool { return strings.HasPrefix(line, notice) }) {
			t.Errorf("matrix %q: exit code %d, %q", matrix, code, obeyed)
		}
	}
}

func TestPlanMatrix(t *testing.T) {
	s := newStage(t)
	s.env["INPUT_COMMAND"] = "plan"
	t.Chdir(s.workspace) // it is changed, and back at the test's end
	code, obeyed, shown := s.run(StageMain)
	if code != 0 {
		t.Fatalf("exit code %d: %q\n%s", code, obeyed, strings.Join(shown, "\n"))
	}
	values := readValues(t, s.read("GITHUB_OUTPUT"))
	if restore := values["cache-restore-keys"]; restore != "imagebuild-1-amd64-golden-" || !strings.HasPrefix(values["cache-key"], restore) {
		t.Errorf("cache key %q, %q", values["cache-key"], restore)
	}
	var matrix struct{ Include []map[string]string }
	if err := json.Unmarshal([]byte(readValues(t, s.read("GITHUB_OUTPUT"))["matrix"]), &matrix); err != nil {
		t.Fatal(err)
	}
	if len(matrix.Include) != 2 || matrix.Include[1]["platform"] != "libvirt" || matrix.Include[1]["template"] != "imagebuild.yml" {
		t.Errorf("%v", matrix.Include)
	}
}

func TestValidate(t *testing.T) {
	s := newStage(t)
	s.env["INPUT_COMMAND"], s.env["INPUT_VERSION"] = "validate", "7.0"
	code, obeyed, _ := s.run(StageMain)
	if values := readValues(t, s.read("GITHUB_OUTPUT")); code != 0 || values["version"] != "7.0" || len(values["plan-digest"]) != 64 {
		t.Errorf("exit code %d, %v, %q", code, values, obeyed)
	}
}
