package run

import (
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

// LookPath finds a program in the PATH that children get, which is not the
// caller's. Its error is an environment fault without a remedy: the caller
// knows the package.
func LookPath(name string) (string, error) {
	for _, each := range Environ() {
		list, ok := strings.CutPrefix(each, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fault.Errorf(fault.Environment, "%s: command not found", name)
}
