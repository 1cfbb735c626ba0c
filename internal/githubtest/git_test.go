package githubtest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// commit makes a commit of one file over the API, and returns its name.
func (c raw) commit(parent, path, content string) string {
	c.t.Helper()
	tree := object{"tree": []object{{"path": path, "mode": "100644", "type": "blob", "content": content}}}
	parents := []string{}
	if parent != "" {
		tree["base_tree"] = parent
		parents = append(parents, parent)
	}
	made := c.must(201, "POST", "/git/trees", tree)
	return c.must(201, "POST", "/git/commits", object{"message": path, "tree": made["sha"], "parents": parents})["sha"].(string)
}

func TestRefs(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	main := s.Refs()["refs/heads/main"]
	one, two := c.commit(main, "a", "1"), c.commit(main, "a", "2")
	c.must(201, "POST", "/git/refs", object{"ref": "refs/heads/x", "sha": one})
	zero := strings.Repeat("0", 40)
	for _, test := range []struct {
		method, path string
		body         object
		says         string
	}{
		{"POST", "/git/refs", object{"ref": "refs/heads/x", "sha": one}, "Reference already exists"},
		{"POST", "/git/refs", object{"ref": "refs/heads/y", "sha": zero}, "Object does not exist"},
		{"POST", "/git/refs", object{"ref": "heads/y", "sha": one}, "at least two slashes"},
		{"PATCH", "/git/refs/heads/x", object{"sha": two}, "Update is not a fast forward"},
		{"PATCH", "/git/refs/heads/x", object{"sha": zero, "force": true}, "Object does not exist"},
		{"PATCH", "/git/refs/heads/y", object{"sha": two}, "Reference does not exist"},
		{"DELETE", "/git/refs/heads/y", nil, "Reference does not exist"},
		{"POST", "/git/commits", object{"message": "m", "tree": zero}, "Tree SHA does not exist"},
		{"POST", "/git/trees", object{"tree": []object{{"path": "a", "mode": "100644", "sha": zero}}}, "not a valid blob"},
		{"POST", "/git/trees", object{"tree": []object{{"path": "../a", "mode": "100644", "content": "x"}}}, "malformed path"},
		{"POST", "/git/trees", object{"base_tree": zero, "tree": []object{}}, "not a valid tree"},
		{"POST", "/git/blobs", object{"content": "%", "encoding": "base64"}, "not valid Base64"},
	} {
		if answer := c.must(422, test.method, test.path, test.body); !strings.Contains(fmt.Sprint(answer["message"]), test.says) {
			t.Errorf("%s %s: %v", test.method, test.path, answer)
		}
	}
	c.must(200, "PATCH", "/git/refs/heads/x", object{"sha": two, "force": true})
	if matching := c.list("/git/matching-refs/heads/"); len(matching) != 2 {
		t.Error(matching)
	}
	c.must(404, "GET", "/git/ref/heads/y", nil)
	c.must(200, "GET", "/git/ref/heads/x", nil)
	c.must(204, "DELETE", "/git/refs/heads/x", nil)
	c.must(404, "GET", "/git/ref/heads/x", nil)
	for _, path := range []string{"/git/commits/", "/git/trees/", "/git/blobs/"} {
		c.must(404, "GET", path+zero, nil)
	}
}

func TestTreeChanges(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	base := s.Commit("main", map[string]string{"dir/a": "1", "dir/b": "2", "c": "3"})
	made := c.must(201, "POST", "/git/trees", object{"base_tree": base, "tree": []object{
		{"path": "dir/a", "mode": "100644", "type": "blob", "sha": nil}, {"path": "c", "mode": "100644", "type": "blob", "content": "4"},
	}})
	commit := c.must(201, "POST", "/git/commits", object{"message": "m", "tree": made["sha"], "parents": []string{base}})
	c.must(200, "PATCH", "/git/refs/heads/main", object{"sha": commit["sha"]})
	files := s.Files("main")
	if len(files) != 3 || files["dir/b"] != "2" || files["c"] != "4" || files["README.md"] == "" {
		t.Error(files)
	}
	if log := s.Log("main"); len(log) != 3 || log[1] != base {
		t.Error(log)
	}
}

func TestContents(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	s.Commit("main", map[string]string{"dir/a b": "hello", "big": strings.Repeat("x", 1<<20+1)})
	shown := c.must(200, "GET", "/contents/dir/a%20b", nil)
	if plain, err := base64.StdEncoding.DecodeString(fmt.Sprint(shown["content"])); err != nil || string(plain) != "hello" {
		t.Error(shown)
	}
	if big := c.must(200, "GET", "/contents/big?ref=main", nil); big["content"] != "" || big["encoding"] != "none" {
		t.Error(big["encoding"])
	}
	c.must(404, "GET", "/contents/dir/c", nil)
	c.must(404, "GET", "/contents/dir/a?ref=nowhere", nil)
	resp := get(t, http.MethodGet, s.APIURL()+"/repos/octo/images/contents/dir/a%20b", "Accept", "application/vnd.github.raw+json", "User-Agent", "test")
	if resp.content != "hello" {
		t.Error(resp.Status, resp.content)
	}
}

// Git itself makes the same objects of the same content.
func TestObjectsAreNamedAsByGit(t *testing.T) {
	program := testkit.Tool(t, "git")
	now := time.Unix(1_800_000_000, 0).UTC()
	s, _ := newServer(t, githubtest.Options{Now: func() time.Time { return now }})
	s.Commit("other", map[string]string{"dir.d/x": "1", "dir/y": "2", "dir0": "3", "a": ""})
	dir := t.TempDir()
	for path, content := range s.Files("other") {
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git := func(stdin string, args ...string) string {
		cmd := exec.Command(program, args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
		cmd.Env = []string{
			"HOME=" + dir, "PATH=/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=octocat", "GIT_COMMITTER_NAME=octocat",
			"GIT_AUTHOR_EMAIL=octocat@example.com", "GIT_COMMITTER_EMAIL=octocat@example.com",
			"GIT_AUTHOR_DATE=1800000000 +0000", "GIT_COMMITTER_DATE=1800000000 +0000",
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("", "init", "-q")
	git("", "add", "-A")
	if want, got := git("Change", "commit-tree", git("", "write-tree")), s.Log("other")[0]; got != want {
		t.Errorf("%s, git says %s", got, want)
	}
}
