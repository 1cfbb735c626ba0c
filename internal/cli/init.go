package cli

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

//go:embed starter
var starter embed.FS

// starterFiles is what init writes: where to, from what, with which mode.
var starterFiles = []struct { //nolint:gochecknoglobals // a constant table
	path, from string
	mode       fs.FileMode
}{
	{build.DefaultTemplate, "starter/imagebuild.yml", 0o644},
	{"provision/setup.sh", "starter/provision/setup.sh", 0o755},
	{".github/workflows/images.yml", "starter/images.yml", 0o644},
}

func (a *app) initCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Write a starter template and the workflow beside it",
		Long: `Writes a template that builds as it stands, the script that it names, and a
GitHub workflow that builds it on pull requests and publishes it on tags.
Files that are there already are never overwritten, unless you say --force.`,
		Example: "  imagebuild init\n  imagebuild build",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			folder := "."
			if len(args) > 0 {
				folder = args[0]
			}
			return a.writeStarter(folder, force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "overwrite files that exist")
	return c
}

func (a *app) writeStarter(folder string, force bool) error {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return fault.Wrap(fault.Environment, err)
	}
	if !force {
		for _, file := range starterFiles {
			path := filepath.Join(folder, file.path)
			if _, err := os.Lstat(path); err == nil {
				return fault.Errorf(fault.Input, "%s exists already; nothing was written (--force overwrites)", path)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return fault.Wrap(fault.Environment, err)
			}
		}
	}
	for _, file := range starterFiles {
		content, err := starter.ReadFile(file.from)
		if err != nil {
			return err
		}
		content = bytes.ReplaceAll(content, []byte("@NAME@"), []byte(imageName(filepath.Base(absolute))))
		path := filepath.Join(folder, file.path)
		if err := writeFile(path, content, file.mode); err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, path)
	}
	fmt.Fprintln(a.Stderr, "Next: imagebuild validate, then imagebuild build")
	return nil
}

func writeFile(path string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return run.Explain(err)
	}
	f, err := run.CreateFile(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(content); err != nil {
		return run.Explain(err)
	}
	if err := f.Chmod(mode); err != nil {
		return run.Explain(err)
	}
	return f.Commit()
}

var notInName = regexp.MustCompile(`[^a-z0-9._-]+`)

// imageName makes a valid image name of a folder's name.
func imageName(folder string) string {
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(folder), "-"), "-._")
	if name == "" {
		return "golden"
	}
	return name[:min(len(name), 64)]
}
