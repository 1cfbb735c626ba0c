package cli_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/cli"
	"github.com/org/imagebuild-action/internal/githubtest"
)

// releasing runs the release command, by default in the job of a tag, against
// the server.
func releasing(t *testing.T, server *githubtest.Server, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if env == nil {
		env = map[string]string{"GITHUB_TOKEN": server.Token(githubtest.Write), "GITHUB_REPOSITORY": server.Repository(), "GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1.0.0"}
	}
	env["GITHUB_API_URL"], env["GITHUB_SERVER_URL"] = server.APIURL(), server.URL()
	var out, errs bytes.Buffer
	code = cli.Main(t.Context(), cli.Process{
		Argv:      append([]string{"imagebuild", "release"}, args...),
		LookupEnv: func(name string) (string, bool) { value, ok := env[name]; return value, ok },
		Stdin:     strings.NewReader(""), Stdout: &out, Stderr: &errs,
	})
	return code, out.String(), errs.String()
}

func outputFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	digest := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	const box, manifest = "golden-1.0.0-libvirt-amd64.box", "golden-1.0.0.manifest.json.zst"
	files := map[string]string{
		box: "a box", manifest: "a manifest",
		"SHA256SUMS": digest("a box") + "  " + box + "\n" + digest("a manifest") + "  " + manifest + "\n",
		"plan.json": `{"format": 1, "name": "golden", "version": "1.0.0", "digest": "` + digest("plan") + `",
			"cells": [{"platform": "libvirt", "type": "libvirt", "arch": "amd64", "tree": "t", "digest": "` + digest("cell") + `"}],
			"template": [{"platform": "libvirt", "arch": "amd64"}], "release": {"oversize": "split", "vagrant": {"catalog": true}}}`,
		"result.json": `{"name": "golden", "version": "1.0.0", "generator": "g", "plan_digest": "` + digest("plan") + `",
			"trees": [{"id": "t", "platforms": ["libvirt"], "sha256": "` + digest("tree") + `", "manifest": "` + manifest + `"}],
			"artifacts": [{"name": "` + box + `", "kind": "box", "platform": "libvirt", "arch": "amd64", "path": "` + box + `", "size_bytes": 5, "sha256": "` + digest("a box") + `", "provider": "libvirt"}],
			"verified": [{"artifact": "` + box + `", "accel": "tcg", "boot_seconds": 1, "tests": []}]}`,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRelease(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	out := outputFolder(t)
	code, stdout, stderr := releasing(t, server, nil, out, "--keep-draft", "--json")
	var outcome struct {
		Draft, Closed bool
		Uploaded      []string
	}
	if err := json.Unmarshal([]byte(stdout), &outcome); code != 0 || err != nil || !outcome.Draft || !outcome.Closed || len(outcome.Uploaded) != 5 {
		t.Fatalf("%d, %v: %s%s", code, err, stdout, stderr)
	}
	code, stdout, stderr = releasing(t, server, nil)
	if code != 0 || stdout != server.URL()+"/octo/images/releases/tag/v1.0.0\n" || !strings.Contains(stderr, "published and complete") {
		t.Errorf("%d: %s%s", code, stdout, stderr)
	}
	if all := server.Releases(); len(all) != 1 || all[0].Draft {
		t.Errorf("%+v", all)
	}
}

func TestReleaseRefuses(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	out := outputFolder(t)
	base := func(change func(map[string]string)) map[string]string {
		env := map[string]string{"GITHUB_TOKEN": server.Token(githubtest.Write), "GITHUB_REPOSITORY": server.Repository()}
		if change != nil {
			change(env)
		}
		return env
	}
	for name, tc := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"no tag":         {base(nil), []string{out}, "which release? name its tag: --tag v1.2.3"},
		"a branch":       {base(func(e map[string]string) { e["GITHUB_REF_TYPE"], e["GITHUB_REF_NAME"] = "branch", "main" }), []string{out}, "which release?"},
		"no token":       {base(func(e map[string]string) { delete(e, "GITHUB_TOKEN") }), []string{out, "--tag", "v1"}, "there is no token; set GITHUB_TOKEN"},
		"no repository":  {base(func(e map[string]string) { delete(e, "GITHUB_REPOSITORY") }), []string{out, "--tag", "v1"}, "--repository owner/name"},
		"a wrong token":  {base(func(e map[string]string) { e["GITHUB_TOKEN"] = "ghs_wrong" }), []string{out, "--tag", "v1"}, "the token is wrong"},
		"a weak token":   {base(func(e map[string]string) { e["GITHUB_TOKEN"] = server.Token(githubtest.Read) }), []string{out, "--tag", "v1"}, "contents: write"},
		"no folder":      {base(nil), []string{"nowhere", "--tag", "v1"}, "nowhere: no such file"},
		"not a folder":   {base(nil), []string{filepath.Join(out, "plan.json"), "--tag", "v1"}, "is not a folder"},
		"not an output":  {base(nil), []string{t.TempDir(), "--tag", "v1"}, "there is no plan.json"},
		"a rule of none": {base(nil), []string{out, "--tag", "v1", "--complete-when", "x"}, "--complete-when"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := releasing(t, server, tc.env, tc.args...)
			if code != 2 || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("%d: %s%s", code, stdout, stderr)
			}
			if token := tc.env["GITHUB_TOKEN"]; token != "" && strings.Contains(stderr, token) {
				t.Error("the token is shown")
			}
		})
	}
	if len(server.Releases()) > 0 {
		t.Error("something was made")
	}
}
