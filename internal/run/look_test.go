package run

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
)

func TestLookPath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if path, err := LookPath("sh"); err != nil || path[0] != '/' {
		t.Errorf("%q, %v", path, err)
	}
	if _, err := LookPath("no-such-program"); fault.KindOf(err) != fault.Environment {
		t.Error(err)
	}
}

func TestFileSHA256(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if _, err := FileSHA256(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	// FIPS 180-2, B.1.
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got, err := FileSHA256(path); got != want || err != nil {
		t.Error(got, err)
	}
}
