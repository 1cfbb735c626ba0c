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

// starterFile is one file that init writes: where to, what, with which mode.
type starterFile struct {
	path    string
	content []byte
	mode    fs.FileMode
}

func (a *app) initCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Write a starter template and the workflow beside it",
		Long: `Writes a template that builds as it stands, the script that it names, and a
GitHub workflow that builds it on pull requests and releases it on tags.

In a folder that has an imagebuild.yml, only the workflow is written: its
matrix has the platforms and architectures of that template. In a folder within
a repository, the workflow goes to the repository's root, where GitHub looks for
it, and plans the images of every folder, so that one is enough for all.

Files that are there already are never overwritten, unless you say --force.`,
		Example: "  imagebuild init\n  imagebuild init images/web\n  imagebuild build",
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
	files, note, err := starterFiles(folder, force)
	if err != nil {
		return err
	}
	if !force {
		for _, file := range files {
			if there, err := exists(file.path); err != nil {
				return err
			} else if there {
				return fault.Errorf(fault.Input, "%s exists already; nothing was written (--force overwrites)", file.path)
			}
		}
	}
	for _, file := range files {
		if err := writeFile(file.path, file.content, file.mode); err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, file.path)
	}
	if note != "" {
		fmt.Fprintln(a.Stderr, note)
	}
	next := "imagebuild validate"
	if folder != "." {
		next += " " + run.Quote([]string{folder})
	}
	fmt.Fprintf(a.Stderr, "Next: %s, then imagebuild build\n", next)
	return nil
}

// starterFiles decides what init writes into a folder, and what it says of the
// rest.
func starterFiles(folder string, force bool) (files []starterFile, note string, err error) {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return nil, "", fault.Wrap(fault.Environment, err)
	}
	name := imageName(filepath.Base(absolute))
	path := filepath.Join(folder, build.DefaultTemplate)
	own, err := exists(path)
	if err != nil {
		return nil, "", err
	}
	var d *build.Description // of the template that is there
	if own && !force {
		if d, err = build.Describe(path); err != nil {
			return nil, "", err
		}
	} else {
		for _, each := range []starterFile{{path: build.DefaultTemplate, mode: 0o644}, {path: "provision/setup.sh", mode: 0o755}} {
			if each.content, err = starter.ReadFile("starter/" + each.path); err != nil {
				return nil, "", err
			}
			each.content = bytes.ReplaceAll(each.content, []byte("@NAME@"), []byte(name))
			each.path = filepath.Join(folder, each.path)
			files = append(files, each)
		}
	}
	w, err := starterWorkflow(folder, absolute, d)
	if err != nil {
		return nil, "", err
	}
	there, err := exists(w.path)
	// A workflow for all folders serves one more.
	if err == nil && there && !force && len(files) > 0 && filepath.Dir(filepath.Dir(filepath.Dir(w.path))) != filepath.Clean(folder) {
		return files, w.path + " exists already and was left as it is; see that it builds " + path, nil
	}
	return append(files, w), "", err
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, fault.Wrap(fault.Environment, err)
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
