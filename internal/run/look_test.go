package run

import (
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
