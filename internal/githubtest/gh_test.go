package githubtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// GitHub's own command line finds what it expects. It knows one host that
// speaks plain HTTP, github.localhost, and reaches it through a proxy: us.
func TestGh(t *testing.T) {
	gh := testkit.Tool(t, "gh")
	s := githubtest.New(t, githubtest.Options{})
	dir := t.TempDir()
	// Two hosts have the token, and the storage of the bytes is not among them.
	hosts := ""
	for _, host := range []string{"github.localhost", strings.TrimPrefix(s.URL(), "http://")} {
		hosts += fmt.Sprintf("%q: {user: octocat, oauth_token: %s}\n", host, s.Token(githubtest.Write))
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts.yml"), []byte(hosts), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, gh, args...)
		cmd.Dir = dir
		cmd.Env = []string{
			"HOME=" + dir, "PATH=/usr/bin:/bin", "HTTP_PROXY=" + s.URL(), "GH_HOST=github.localhost", "GH_CONFIG_DIR=" + dir, "GH_NO_UPDATE_NOTIFIER=1", "NO_COLOR=1",
		}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("gh %v: %v\n%s%s", args, err, stdout.String(), stderr.String())
		}
		return stdout.String()
	}
	const repository = "github.localhost/octo/images"
	box := filepath.Join(dir, "golden.box")
	if err := os.WriteFile(box, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	var made struct {
		ID int64 `json:"id"`
	}
	if err := json.Unmarshal([]byte(run("api", "repos/octo/images/releases", "-f", "tag_name=v1", "-f", "body=notes", "-F", "draft=false")), &made); err != nil {
		t.Fatal(err)
	}
	run("release", "upload", "v1", box, "--repo", repository)
	if shown := run("release", "view", "v1", "--repo", repository, "--json", "tagName,assets"); !strings.Contains(shown, "golden.box") {
		t.Error(shown)
	}
	run("release", "download", "v1", "--repo", repository, "--dir", filepath.Join(dir, "got"))
	if got, err := os.ReadFile(filepath.Join(dir, "got", "golden.box")); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
	run("release", "upload", "v1", box, "--repo", repository, "--clobber")
	if all := s.Releases(); len(all) != 1 || all[0].ID != made.ID || len(all[0].Assets) != 1 || all[0].Assets[0].SHA256[:8] != "2cf24dba" {
		t.Errorf("%+v", all)
	}
	run("release", "delete", "v1", "--yes", "--repo", repository)
	if all := s.Releases(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}
