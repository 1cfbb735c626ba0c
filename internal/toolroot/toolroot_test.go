package toolroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

func TestNewEnough(t *testing.T) {
	for version, want := range map[string]bool{
		"mke2fs 1.47.2 (1-Jan-2025)": true,
		"mke2fs 1.47.1 (20-May-24)":  true,
		"mke2fs 1.48 (x)":            true,
		"mke2fs 1.48.0 (x)":          true,
		"mke2fs 2.0.0":               true,
		"mke2fs 1.47.0 (5-Feb-2023)": false,
		"mke2fs 1.46.5":              false,
		"mke2fs 1.47":                false,
		"mke2fs":                     false,
		"":                           false,
		"busybox mke2fs 1.99":        false,
	} {
		if got := newEnough(version); got != want {
			t.Errorf("newEnough(%q) is %t", version, got)
		}
	}
}

func TestTryNeedsLibarchive(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "mke2fs")
	script := "#!/bin/sh\n[ \"$1\" = -V ] && { echo 'mke2fs 1.47.2 (1-Jan-2025)' >&2; exit 0; }\necho 'no libarchive' >&2; exit 1\n"
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := try(t.Context(), Tool{argv: []string{fake}}); err == nil || !strings.Contains(err.Error(), "cannot read a tar archive") {
		t.Errorf("error is %v", err)
	}
	if _, err := try(t.Context(), Tool{argv: []string{filepath.Join(t.TempDir(), "none")}}); fault.KindOf(err) != fault.Environment {
		t.Errorf("a missing program: %v", err)
	}
}

func TestExplain(t *testing.T) {
	exit := func(tail string) error { return &run.ExitError{Argv: []string{"mmdebstrap"}, Status: 25, Tail: tail} }
	for _, test := range []struct {
		err  error
		want string
	}{
		{fault.Errorf(fault.Environment, "mmdebstrap: command not found; install it"), "apt-get install mmdebstrap"},
		{exit("GPG error: NO_PUBKEY 0123"), "debian-archive-keyring"},
		{exit("E: Failed to fetch something  Could not resolve 'host'"), "check the network"},
		{exit("cannot write: No space left on device"), "--cache-dir"},
		{exit("something new"), "install e2fsprogs 1.47.1"},
	} {
		if err := explain(test.err); fault.KindOf(err) != fault.Environment || !strings.Contains(err.Error(), test.want) {
			t.Errorf("explain(%v) is %v (%s), want %q", test.err, err, fault.KindOf(err), test.want)
		}
	}
	if err := explain(fmt.Errorf("mmdebstrap: %w", context.Canceled)); !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled {
		t.Errorf("a cancellation becomes %v", err)
	}
}

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock(ctx, name); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting with a cancelled context: %v", err)
	}
	unlock()
	again, err := lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestConcurrent makes the tool root for real, by several builds at once.
func TestConcurrent(t *testing.T) {
	testkit.Whole(t, "bootstraps")
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("mmdebstrap is not installed")
	}
	cache := filepath.Join(t.TempDir(), "a cache with blanks")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			tool, err := Mke2fs(t.Context(), cache, report.Discard.Begin("tools"))
			if err != nil || !strings.HasPrefix(tool.Version(), "mke2fs 1.4") {
				t.Errorf("%s, %v", tool.Version(), err)
			}
		})
	}
	wg.Wait()
	left, err := filepath.Glob(filepath.Join(cache, "tools", ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	entries, _ := os.ReadDir(filepath.Join(cache, "tools"))
	if len(entries) > 2 {
		t.Errorf("more than one folder and its lock: %v", entries)
	}
}
