package ci_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/actionfile"
	"github.com/org/imagebuild-action/internal/testkit"
)

// command runs a program in a folder with a small environment, and returns
// what it printed, stdout and stderr together.
func command(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	return commandEnv(t, dir, nil, name, args...)
}

func commandEnv(t *testing.T, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	// No configuration of the machine's: neither a signature nor a hook.
	c.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C", "TZ=UTC", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
	}, env...)
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// repository is a clone and the remote that it pushes to.
type repository struct {
	t      *testing.T
	clone  string
	remote string
}

// newRepository holds this project's action.yml and scripts, in one commit.
func newRepository(t *testing.T) *repository {
	testkit.Tool(t, "git")
	r := &repository{t: t, clone: filepath.Join(t.TempDir(), "clone"), remote: filepath.Join(t.TempDir(), "remote.git")}
	for _, args := range [][]string{
		{"init", "-q", "--bare", "-b", "main", r.remote},
		{"init", "-q", "-b", "main", r.clone},
	} {
		if out, err := command(t, "", "git", args...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	r.git("remote", "add", "origin", r.remote)
	for _, name := range []string{"action.yml", ".github/scripts"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(r.clone, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := command(t, "", "cp", "-a", filepath.Join(root, name), filepath.Join(r.clone, name)); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	r.commit("one")
	return r
}

func (r *repository) git(args ...string) string {
	r.t.Helper()
	out, err := command(r.t, r.clone, "git", args...)
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// commit makes a commit on main and pushes it.
func (r *repository) commit(text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.clone, "file"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.git("add", "-A")
	r.git("commit", "-q", "-m", text)
	r.git("push", "-q", "origin", "main")
}

// script runs one of .github/scripts; fails says whether it has to.
func (r *repository) script(fails bool, name string, args ...string) string {
	r.t.Helper()
	out, err := command(r.t, r.clone, "./.github/scripts/"+name, args...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	if (err != nil) != fails {
		r.t.Errorf("%s %q: %v, want failure %v\n%s", name, args, err, fails, out)
	}
	return out
}

// refs are what the remote has.
func (r *repository) refs() string {
	r.t.Helper()
	return r.git("ls-remote", "origin")
}

const (
	image  = "ghcr.io/org/imagebuild-action@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	image2 = "ghcr.io/org/imagebuild-action@sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
)

// TestTag: the tag is one commit on the one that was released, differs from it
// by the image alone, is in no branch, and does not depend on the day.
func TestTag(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	head := r.git("rev-parse", "HEAD")
	r.script(false, "release-check.sh", "1.2.3", "refs/heads/main")
	r.script(false, "tag.sh", "1.2.3", image)

	r.git("fetch", "-q", "--tags", "origin")
	tag := r.git("rev-parse", "v1.2.3^{commit}")
	if parent := r.git("rev-parse", "v1.2.3^"); parent != head {
		t.Errorf("the tag's parent is %s, want %s", parent, head)
	}
	if diff := r.git("diff", "-U0", head, tag); !strings.HasSuffix(diff, "-  image: Dockerfile\n+  image: docker://"+image) || strings.Count(diff, "\n+") != 2 {
		t.Errorf("the tag differs by\n%s", diff)
	}
	if mode := r.git("ls-tree", tag, "action.yml"); !strings.HasPrefix(mode, "100644 blob ") {
		t.Errorf("action.yml is %s", mode)
	}
	f, err := actionfile.Parse("action.yml", []byte(r.git("show", tag+":action.yml")+"\n"))
	if err != nil || f.Runs.Image != "docker://"+image || len(f.Inputs) == 0 {
		t.Errorf("action.yml of the tag: %+v, %v", f, err)
	}
	if branches := r.git("branch", "-a", "--contains", tag); branches != "" {
		t.Errorf("the commit of the tag is in %s", branches)
	}
	if status := r.git("status", "--porcelain"); status != "" || r.git("rev-parse", "HEAD") != head {
		t.Errorf("the checkout was touched: %s", status)
	}

	// Again, from a checkout as a runner makes it: the same commit.
	again := &repository{t: t, clone: filepath.Join(t.TempDir(), "clone")}
	if out, err := command(t, "", "git", "clone", "-q", "--depth", "1", "file://"+r.remote, again.clone); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before := r.refs()
	again.script(false, "release-check.sh", "1.2.3", "refs/heads/main")
	again.script(false, "tag.sh", "1.2.3", image)
	// And with a container that was built again: the tag that is out stays.
	if out := again.script(false, "tag.sh", "1.2.3", image2); !strings.Contains(out, image) {
		t.Errorf("the tag that is there is not named: %s", out)
	}
	if after := r.refs(); after != before {
		t.Errorf("refs after the same release again:\n%s\nbefore:\n%s", after, before)
	}
	r.git("push", "-q", "origin", ":refs/tags/v1.2.3")
	again.script(false, "tag.sh", "1.2.3", image)
	if after := r.refs(); after != before {
		t.Errorf("the same release made anew:\n%s\nbefore:\n%s", after, before)
	}

	// The next commit cannot have it.
	r.commit("two")
	before = r.refs()
	r.script(true, "release-check.sh", "1.2.3", "refs/heads/main")
	r.script(true, "tag.sh", "1.2.3", image2)
	r.script(false, "release-check.sh", "1.2.4", "refs/heads/main")
	if after := r.refs(); after != before {
		t.Errorf("a refused release changed the remote:\n%s", after)
	}
}

// TestTagRefuses: whatever is wrong, the remote stays as it is.
func TestTagRefuses(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	before := r.refs()
	for _, args := range [][]string{
		{"v1.2.3", image},
		{"1.2", image},
		{"1.2.3+x", image},
		{"01.2.3", image},
		{"", image},
		{"1.2.3; true", image},
		{"1.2.3\n1", image},
		{"1.2.3", "ghcr.io/org/imagebuild-action:1.2.3"},
		{"1.2.3", "ghcr.io/org/imagebuild-action@sha256:0123"},
		{"1.2.3", "docker://" + image},
		{"1.2.3", image + "|x"},
		{"1.2.3", "@"},
		{"1.2.3"},
	} {
		r.script(true, "tag.sh", args...)
	}
	r.script(true, "release-check.sh", "1.2", "refs/heads/main")
	r.script(true, "release-check.sh", "1.2.3", "refs/heads/topic")
	r.script(true, "release-check.sh", "1.2.3", "refs/tags/v1.2.3")

	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.clone, "action.yml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("runs:\n  image: Dockerfile\nname: changed\n")
	r.script(true, "tag.sh", "1.2.3", image) // not committed
	for _, text := range []string{"runs:\n  image: docker://" + image + "\n", "runs:\n  image: Dockerfile\n  image: Dockerfile\n", ""} {
		write(text)
		r.git("commit", "-q", "-a", "-m", "action.yml")
		r.script(true, "tag.sh", "1.2.3", image)
	}
	if after := r.refs(); after != before {
		t.Errorf("the remote changed:\n%s", after)
	}
}

// TestTagRace: of two releases at once one wins, and the other says so.
func TestTagRace(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	// The hook is somebody else's push, between our look and our push.
	hook := "#!/bin/sh\nread -r old new ref\nunset GIT_QUARANTINE_PATH # it forbids what the hook is for\nif [ ! -e raced ]; then : > raced; git update-ref \"$ref\" refs/heads/main; fi\n"
	if err := os.WriteFile(filepath.Join(r.remote, "hooks/pre-receive"), []byte(hook), 0o700); err != nil {
		t.Fatal(err)
	}
	r.script(true, "tag.sh", "1.2.3", image)
	if tag, head := r.git("ls-remote", "origin", "refs/tags/v1.2.3"), r.git("rev-parse", "HEAD"); !strings.HasPrefix(tag, head) {
		t.Errorf("the tag of the one who was faster is %q", tag)
	}
}

// TestMoveMajor: v1 follows the newest final release of its major version,
// whatever order they are made in.
func TestMoveMajor(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	commits := map[string]string{}
	for _, tt := range []struct{ version, v1, v10 string }{
		{"1.2.3", "1.2.3", ""},
		{"1.10.0", "1.10.0", ""},
		{"1.9.1", "1.10.0", ""}, // a repair of an older one
		{"1.11.0-rc.1", "1.10.0", ""},
		{"10.0.0", "1.10.0", "10.0.0"},
	} {
		r.git("commit", "-q", "--allow-empty", "-m", tt.version)
		r.git("push", "-q", "origin", "HEAD:refs/tags/v"+tt.version)
		commits[tt.version] = r.git("rev-parse", "HEAD")
		r.script(false, "move-major.sh", "v"+tt.version)
		refs := r.refs() + "\n"
		for name, want := range map[string]string{"v1": tt.v1, "v10": tt.v10} {
			if got := strings.Contains(refs, commits[want]+"\trefs/tags/"+name+"\n"); got != (want != "") {
				t.Errorf("after %s, %s is not %q:\n%s", tt.version, name, want, refs)
			}
		}
	}
	r.script(false, "move-major.sh", "v10.0.0") // again: nothing to do
	before := r.refs()
	for _, name := range []string{"v3.0.0", "v1.2", "v1", "main"} {
		r.script(true, "move-major.sh", name)
	}
	if after := r.refs(); after != before {
		t.Errorf("the remote changed:\n%s", after)
	}
}
