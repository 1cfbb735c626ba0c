package fetch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPrune(t *testing.T) {
	cache := t.TempDir()
	dir := filepath.Join(cache, downloadsDir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, age := range map[string]time.Duration{
		"sha256-a": 5 * inUse, "sha256-b": 4 * inUse, "sha256-c": 3 * inUse, "sha256-d": inUse / 2,
		"sha256-e.part": 2 * abandoned, "sha256-e.origin": 2 * abandoned, "sha256-f.part": abandoned / 2, "sha256-g.part": 2 * abandoned,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := os.Open(filepath.Join(dir, "sha256-g.part"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if err := unix.Flock(int(busy.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := prune(dir, 400, now); err != nil {
		t.Fatal(err)
	}
	mustBe(t, cache, "sha256-a", "sha256-b", "sha256-c", "sha256-d", "sha256-f.part", "sha256-g.part")
	if err := prune(dir, 250, now); err != nil {
		t.Fatal(err)
	}
	mustBe(t, cache, "sha256-c", "sha256-d", "sha256-f.part", "sha256-g.part")
	if err := prune(dir, 1, now); err != nil {
		t.Fatal(err)
	}
	mustBe(t, cache, "sha256-d", "sha256-f.part", "sha256-g.part") // too young to go
}
