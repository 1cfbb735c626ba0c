package cli

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
)

// starterPath is where GitHub looks for a workflow.
const starterPath = ".github/workflows/images.yml"

// starterWorkflow is the workflow for a folder's template. d describes the
// template that is there; without one it is the starter's own.
func starterWorkflow(folder, absolute string, d *build.Description) (starterFile, error) {
	root, err := repositoryRoot(absolute)
	if err != nil {
		return starterFile{}, err
	}
	w := starterFile{path: filepath.Join(folder, starterPath), mode: 0o644}
	if root != absolute {
		up, err := filepath.Rel(absolute, root)
		if err != nil {
			return w, fault.Wrap(fault.Environment, err)
		}
		w.path = filepath.Join(folder, up, starterPath)
		w.content, err = starter.ReadFile("starter/many.yml")
		w.content = bytes.ReplaceAll(w.content, []byte("@FILE@"), []byte(starterPath))
		return w, err
	}
	if d == nil {
		text, err := starter.ReadFile("starter/" + build.DefaultTemplate)
		if err != nil {
			return w, err
		}
		text = bytes.ReplaceAll(text, []byte("@NAME@"), []byte("x")) // which decides nothing here
		if d, err = build.DescribeText(build.DefaultTemplate, text); err != nil {
			return w, err
		}
	}
	if len(d.Known.Platforms) == 0 {
		return w, fault.Errorf(fault.Input, "%s has no platforms, so there is nothing for a workflow to build; add some, or see: imagebuild validate", filepath.Join(folder, build.DefaultTemplate))
	}
	matrix, runner, err := starterMatrix(d)
	if err != nil {
		return w, err
	}
	w.content, err = starter.ReadFile("starter/images.yml")
	for mark, text := range map[string]string{"@FILE@": starterPath, "@MATRIX@": matrix, "@RUNNER@": runner} {
		w.content = bytes.ReplaceAll(w.content, []byte(mark), []byte(text))
	}
	return w, err
}

// starterMatrix writes the template's platforms out: a list of them where all
// have the usual architecture, else one line for each cell with its runner.
func starterMatrix(d *build.Description) (matrix, runner string, err error) {
	flow := func(value any) string {
		var node yaml.Node
		if err = node.Encode(value); err != nil {
			return ""
		}
		node.Style = yaml.FlowStyle
		var text []byte
		text, err = yaml.Marshal(&node)
		return strings.Join(strings.Fields(string(text)), " ") // the library folds long lines
	}
	plain := true
	for _, archs := range d.Archs {
		plain = plain && slices.Equal(archs, []string{"amd64"})
	}
	if plain {
		return "      matrix: {platform: " + flow(d.Known.Platforms) + "}", build.DefaultRunners["amd64"], err
	}
	lines := []string{"      matrix:", "        include:"}
	for _, platform := range d.Known.Platforms {
		for _, arch := range d.Archs[platform] {
			label, ok := build.DefaultRunners[arch]
			if !ok {
				return "", "", fault.Errorf(fault.Input, "no runner is known for the architecture %s of %s; write the workflow by hand, or use imagebuild plan --matrix --runner %s=LABEL", arch, platform, arch)
			}
			lines = append(lines, fmt.Sprintf("          - {platform: %s, arch: %s, runner: %s}", flow(platform), flow(arch), label))
			if err != nil {
				return "", "", err
			}
		}
	}
	return strings.Join(lines, "\n"), "${{ matrix.runner }}", nil
}

// repositoryRoot is the nearest folder upwards that git takes for a
// repository's, else the folder itself.
func repositoryRoot(absolute string) (string, error) {
	for dir := absolute; ; dir = filepath.Dir(dir) {
		there, err := exists(filepath.Join(dir, ".git")) // a folder, or a file in a linked work tree
		if err != nil {
			return "", err
		}
		if there {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return absolute, nil
		}
	}
}
