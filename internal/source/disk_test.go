package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/testkit"
)

// fakeDisk is a source that copies a file.
type fakeDisk struct {
	content []byte
	err     error
}

func (*fakeDisk) String() string                      { return "fake" }
func (*fakeDisk) Check(context.Context) error         { return nil }
func (*fakeDisk) Key(context.Context) (string, error) { return "key", nil }
func (f *fakeDisk) Slow() bool                        { return false }

func (f *fakeDisk) WriteDisk(_ context.Context, path string, _ report.Task) error {
	return errors.Join(f.err, os.WriteFile(path, f.content, 0o600))
}

// systemDisk is a file system that looks like a root, without partitions.
func systemDisk(t *testing.T) []byte {
	t.Helper()
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.MkdirAll(dir+"/etc", 0o755), os.MkdirAll(dir+"/usr", 0o755), os.WriteFile(dir+"/etc/os-release", []byte(strings.Repeat("ID=test\n", 300)), 0o644)); err != nil {
		t.Fatal(err)
	}
	if out, err := run.Output(t.Context(), run.Spec{Argv: []string{testkit.Tool(t, "mke2fs"), "-q", "-t", "ext4", "-d", dir, path, "2M"}}); err != nil {
		t.Fatal(err, out)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestFromDisk(t *testing.T) {
	content, broken := systemDisk(t), errors.New("broken")
	for name, c := range map[string]struct {
		disk  fakeDisk
		limit size.Bytes
		want  string
		kind  fault.Kind
	}{
		"well":              {fakeDisk{content: content}, 0, "", 0},
		"just fits":         {fakeDisk{content: content}, 2400, "", 0},
		"too large":         {fakeDisk{content: content}, 2399, "disk.size is 2399B", fault.Input},
		"no system":         {fakeDisk{content: make([]byte, 1<<20)}, 0, "fake: the disk has no root", fault.Input},
		"the source failed": {fakeDisk{content: content, err: broken}, 0, "broken", fault.Bug},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == "" && os.Geteuid() != 0 {
				t.Skip("owners need root")
			}
			parent := t.TempDir()
			dir := filepath.Join(parent, "root")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := FromDisk(&c.disk, c.limit).Populate(t.Context(), dir, report.Discard.Begin(""))
			if c.want == "" {
				if text, readErr := os.ReadFile(filepath.Join(dir, "etc/os-release")); err != nil || readErr != nil || len(text) != 2400 {
					t.Error(err, readErr, len(text))
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != c.kind {
				t.Errorf("%v of kind %v", err, fault.KindOf(err))
			}
			left, _ := os.ReadDir(parent)
			if names := slices.Collect(func(yield func(string) bool) {
				for _, e := range left {
					yield(e.Name())
				}
			}); fmt.Sprint(names) != "[root]" {
				t.Errorf("beside the root: %v", names)
			}
		})
	}
}
