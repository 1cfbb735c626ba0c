package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/tree"
)

// osRelease is what runs inside.
type osRelease struct{ Name, Release string }

// readOSRelease finds out what system a tree is (os-release(5)). It is zero for
// a tree that does not say.
func readOSRelease(ctx context.Context, t image.Tree) (osRelease, error) {
	for _, name := range []string{"usr/lib/os-release", "etc/os-release"} {
		text, err := tree.ReadFile(ctx, t, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return osRelease{}, fmt.Errorf("what system it is: %w", err)
		}
		return parseOSRelease(string(text)), nil
	}
	return osRelease{}, nil
}

func parseOSRelease(text string) osRelease {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	found := osRelease{Name: values["ID"], Release: values["VERSION_CODENAME"]}
	if found.Release == "" {
		found.Release = values["VERSION_ID"]
	}
	return found
}
