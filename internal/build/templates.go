package build

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/workflow"
)

// FindTemplates turns names into templates, in order and each once. A name is a
// file, a folder or a pattern (*, ?, [abc], {a,b}, ** for any depth); a folder
// stands for the imagebuild.yml in it, or where it has none for every one
// below it. No name stands for the current folder.
func FindTemplates(names []string) ([]string, error) {
	if len(names) == 0 {
		names = []string{"."}
	}
	var all []string
	seen := map[string]bool{}
	for _, name := range names {
		found, err := findTemplates(name)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fault.Errorf(fault.Input, "%s: there is no %s; name a template, or run: imagebuild init", name, DefaultTemplate)
		}
		for _, path := range found {
			if path = relative(path); !seen[path] {
				seen[path] = true
				all = append(all, path)
			}
		}
	}
	return all, nil
}

func findTemplates(name string) ([]string, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return inFolder(name)
	case err == nil:
		return []string{name}, nil
	case !errors.Is(err, fs.ErrNotExist) || !strings.ContainsAny(name, "*?[{"):
		return nil, fault.Wrap(fault.Input, err)
	}
	matches, err := doublestar.FilepathGlob(name, doublestar.WithFailOnIOErrors(), doublestar.WithNoHidden())
	if err != nil {
		return nil, fault.Errorf(fault.Input, "%s: not a pattern: %w", name, err)
	}
	var all []string
	for _, match := range matches {
		info, err := os.Stat(match)
		switch extension := filepath.Ext(match); {
		case err != nil:
			return nil, fault.Wrap(fault.Input, err)
		case info.IsDir():
			found, err := inFolder(match)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		case extension == ".yml" || extension == ".yaml":
			all = append(all, match)
		}
	}
	return all, nil
}

// inFolder leaves hidden folders alone: what lies there is a tool's.
func inFolder(dir string) ([]string, error) {
	own := filepath.Join(dir, DefaultTemplate)
	if _, err := os.Stat(own); err == nil {
		return []string{own}, nil
	}
	var all []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fault.Wrap(fault.Input, err)
		case entry.IsDir() && path != dir && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case !entry.IsDir() && entry.Name() == DefaultTemplate:
			all = append(all, path)
		}
		return nil
	})
	return all, err
}

// relative names a file below the current folder from there, as a workflow has
// to name it.
func relative(path string) string {
	path = filepath.Clean(path)
	if here, err := os.Getwd(); err == nil && filepath.IsAbs(path) {
		if below, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(below) {
			return below
		}
	}
	return path
}

// Description is what a template says of itself before it is resolved.
type Description struct {
	Known      workflow.Known
	Variables  []template.Variable
	MatrixKeys []string            // that it looks up
	EnvNames   []string            // that it looks up
	Archs      map[string][]string // by platform, as far as they can be known
}

// Describe reads as much of a template as it takes to choose what is built of
// it.
func Describe(path string) (*Description, error) {
	file, err := template.Load(path, Registry())
	if err != nil {
		return nil, err
	}
	return describe(file), nil
}

// DescribeText is Describe for a template whose text is at hand.
func DescribeText(path string, text []byte) (*Description, error) {
	file, err := template.Parse(path, text, Registry())
	if err != nil {
		return nil, err
	}
	return describe(file), nil
}

func describe(file *template.File) *Description {
	d := &Description{Known: workflow.Known{Platforms: file.PlatformNames()}, Variables: file.Variables(), MatrixKeys: file.MatrixKeys(), EnvNames: file.EnvNames()}
	d.Archs = map[string][]string{}
	for _, name := range d.Known.Platforms {
		d.Archs[name] = file.Archs(name)
	}
	for _, v := range d.Variables {
		d.Known.Variables = append(d.Known.Variables, v.Name)
	}
	return d
}
