package revision

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/testkit"
)

// repository makes one whose first commit has a bit of everything, and whose
// second, and work tree, have something else.
func repository(t *testing.T) string {
	t.Helper()
	testkit.Tool(t, "git")
	dir := filepath.Join(t.TempDir(), "a b")
	write(t, dir, "my images/imagebuild.yml", "name: one\n", 0o644)
	write(t, dir, "my images/run.sh", "#!/bin/sh\n", 0o755)
	write(t, dir, "line\nbreak", "x", 0o644)
	write(t, dir, "dos.txt", "a\r\n", 0o644)
	write(t, dir, "hidden", "kept\n", 0o644)
	write(t, dir, "stamp", "$Format:%H$\n", 0o644)
	write(t, dir, "large.bin", "version https://git-lfs.github.com/spec/v1\n", 0o644)
	write(t, dir, ".gitattributes", "dos.txt text eol=crlf\nhidden export-ignore\nstamp export-subst\nlarge.bin filter=lfs\n", 0o644)
	if err := os.Symlink("my images/run.sh", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "git", "init", "-q", "-b", "main")
	command(t, dir, "git", "config", "core.hooksPath", "hooks")
	command(t, dir, "git", "-c", "core.fsmonitor=", "add", "-A")
	command(t, dir, "git", "-c", "core.fsmonitor=", "update-index", "--add", "--cacheinfo", "160000,0123456789012345678901234567890123456789,module")
	command(t, dir, "git", "-c", "core.fsmonitor=", "commit", "-qm", "one")
	command(t, dir, "git", "tag", "v1")
	command(t, dir, "git", "config", "filter.lfs.smudge", "touch '"+dir+"/smudged'")
	command(t, dir, "git", "config", "filter.lfs.required", "true")
	command(t, dir, "git", "config", "core.fsmonitor", "touch '"+dir+"/monitored'")
	write(t, dir, "my images/imagebuild.yml", "name: two\n", 0o644)
	write(t, dir, "hooks/post-index-change", "#!/bin/sh\ntouch '"+dir+"/hooked'\n", 0o755)
	write(t, dir, "new", "x", 0o644)
	return dir
}

func write(t *testing.T, dir, name, content string, mode fs.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// listing is every file below a folder with its mode and content.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == ".git" {
			err = filepath.SkipDir
		}
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			all[name] = "-> " + to
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			all[name] = string(content)
			if info.Mode()&0o100 != 0 {
				all[name] += "(executable)"
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestExtract(t *testing.T) {
	dir := repository(t)
	before, index := listing(t, dir), command(t, dir, "git", "-c", "core.fsmonitor=", "ls-files", "--stage")
	repo, err := Open(t.Context(), filepath.Join(dir, "my images"))
	if err != nil {
		t.Fatal(err)
	}
	if repo.Root != dir || repo.Prefix != "my images" {
		t.Errorf("%+v", repo)
	}
	for _, revision := range []string{"HEAD", "v1", "main", "HEAD~0"} {
		out := t.TempDir()
		if err := repo.Extract(t.Context(), revision, out); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"my images/imagebuild.yml": "name: one\n", "my images/run.sh": "#!/bin/sh\n(executable)", "line\nbreak": "x", "dos.txt": "a\r\n",
			"hidden": "kept\n", "stamp": "$Format:%H$\n", "link": "-> my images/run.sh", "large.bin": "version https://git-lfs.github.com/spec/v1\n",
			".gitattributes": before[".gitattributes"],
		}
		if diff := cmp.Diff(want, listing(t, out)); diff != "" {
			t.Errorf("%s: %s", revision, diff)
		}
	}
	// Nothing of the repository changed, and nothing of its configuration ran.
	if diff := cmp.Diff(before, listing(t, dir)); diff != "" {
		t.Error(diff)
	}
	if after := command(t, dir, "git", "-c", "core.fsmonitor=", "ls-files", "--stage"); after != index {
		t.Error("the index changed")
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "imagebuild-index-*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestOwner: in a job's container the checkout belongs to somebody else, which
// git refuses unless it is told.
func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		testkit.Missing(t, "not root, so everything is ours")
	}
	dir := repository(t)
	for _, each := range []string{dir, filepath.Join(dir, ".git")} {
		if err := os.Chown(each, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	repo, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Extract(t.Context(), "HEAD", t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

func TestFaults(t *testing.T) {
	dir := repository(t)
	repo, err := Open(t.Context(), dir)
	if err != nil || repo.Prefix != "." {
		t.Fatal(repo, err)
	}
	for _, revision := range []string{"nothing", "--all", "-h", "", "v1:hidden", "HEAD..v1", "0123456789012345678901234567890123456789"} {
		err := repo.Extract(t.Context(), revision, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), "is not a revision of "+dir+"; name a branch") || fault.KindOf(err) != fault.Input {
			t.Errorf("%q: %v", revision, err)
		}
	}
	shallow := filepath.Join(t.TempDir(), "shallow")
	command(t, dir, "git", "-c", "core.fsmonitor=", "-c", "core.hooksPath=", "-c", "filter.lfs.required=false", "commit", "-qam", "two")
	command(t, dir, "git", "clone", "-q", "--depth", "1", "file://"+dir, shallow)
	if repo, err = Open(t.Context(), shallow); err != nil {
		t.Fatal(err)
	}
	if err := repo.Extract(t.Context(), "HEAD~1", t.TempDir()); err == nil || !strings.Contains(err.Error(), "the clone is shallow: fetch it") {
		t.Error(err)
	}
	if _, err := Open(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "not in a git repository") || fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := repo.Extract(ctx, "HEAD", t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "imagebuild-index-*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
