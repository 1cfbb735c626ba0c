package cli

import "github.com/org/imagebuild-action/internal/build"

func writeKinds(path string) error {
	_ = build.Registry()
	return writeFile(path, []byte("# The template\n"), 0o644)
}
