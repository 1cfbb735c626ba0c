package bootstrap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/tree"
)

type logTask struct {
	report.Task
	t *testing.T
}

func (l logTask) Line(text string)             { l.t.Log(text) }
func (l logTask) Note(format string, a ...any) { l.t.Logf("note: "+format, a...) }
func (l logTask) Warn(format string, a ...any) { l.t.Logf("warn: "+format, a...) }

func open(t *testing.T, cache string, change func(*Config)) *Bootstrap {
	t.Helper()
	c := New()
	c.Release = "bookworm"
	if change != nil {
		change(c)
	}
	c.Validate(nil)
	task := logTask{report.Discard.Begin(""), t}
	return Open(c, Request{Arch: "amd64", Epoch: time.Unix(1700000000, 0), CacheDir: cache, Report: task})
}

func TestPopulate(t *testing.T) {
	testkit.Whole(t, "bootstraps")
	cache := os.Getenv("IMAGEBUILD_TEST_CACHE")
	if cache == "" {
		cache = testkit.Scratch(t)
	}
	b := open(t, cache, func(c *Config) { c.Packages = strings.Fields(os.Getenv("IMAGEBUILD_TEST_PACKAGES")) })
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	before, err := b.Key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("key %s in %s", before, time.Since(start))
	root := filepath.Join(testkit.Scratch(t), "root")
	if keep := os.Getenv("IMAGEBUILD_TEST_ROOT"); keep != "" {
		root = keep
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if err := b.Populate(t.Context(), root, b.request.Report); err != nil {
		t.Fatal(err)
	}
	t.Logf("populated in %s", time.Since(start))
	after, err := b.Key(t.Context())
	if err != nil || after != before {
		t.Errorf("key %s, then %s, %v", before, after, err)
	}
	passwd, err := tree.ReadFile(t.Context(), tree.Dir(root), "etc/passwd")
	if err != nil || !strings.HasPrefix(string(passwd), "root:") {
		t.Errorf("passwd %q, %v", passwd, err)
	}
}

func TestNoSuchRelease(t *testing.T) {
	testkit.Whole(t, "bootstraps")
	b := open(t, t.TempDir(), func(c *Config) { c.Release = "bokworm" })
	_, err := b.Key(t.Context())
	if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), `did you mean "bookworm"?`) {
		t.Error(err)
	}
}

func TestNoSuchPackage(t *testing.T) {
	testkit.Whole(t, "bootstraps")
	b := open(t, t.TempDir(), func(c *Config) { c.Packages = []string{"opensh-server"} })
	err := b.Populate(t.Context(), t.TempDir(), b.request.Report)
	if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), `did you mean "openssh-server"?`) {
		t.Error(err)
	}
}

// TestKeyWithoutNetwork asks a mirror that nobody serves.
func TestKeyWithoutNetwork(t *testing.T) {
	testkit.Whole(t, "bootstraps")
	cache := t.TempDir()
	offline := func(c *Config) { c.Mirror = "http://127.0.0.1:9/debian" }
	b := open(t, cache, offline)
	if _, err := b.Key(t.Context()); fault.KindOf(err) != fault.Remote {
		t.Error(err)
	}
	identity, err := b.identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := remember(filepath.Join(cache, "bootstrap", identity+".state"), "of last week"); err != nil {
		t.Fatal(err)
	}
	key, err := open(t, cache, offline).Key(t.Context())
	if err != nil || key != digest(identity, "of last week") {
		t.Errorf("%s, %v", key, err)
	}
}
