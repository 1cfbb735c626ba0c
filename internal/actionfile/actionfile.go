// Package actionfile reads action.yml, the description of a GitHub action, and
// makes its reference from it, so that what people read is what the runner
// reads.
//
//	f, err := actionfile.Load("action.yml")
//	page := f.Manual()
//	text, err = actionfile.Fill(text, f.Tables())
//
// It knows container actions only. It refuses keys that the runner does not
// know, an input or output without a description, and arguments: the runner
// would hand the same ones to the post step, and would split some values
// (actions/runner, ContainerActionHandler.cs).
package actionfile

import (
	"os"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
)

// File is an action.yml.
type File struct {
	Name        string
	Description string
	Author      string
	Inputs      []Input  // in the file's order
	Outputs     []Output // in the file's order
	Runs        Runs
	Icon        string // of the branding
	Color       string // of the branding
}

// Input is one input. The runner does not enforce "required", so there is none.
type Input struct {
	Name        string
	Description string
	Default     string // may be an expression
	Deprecated  string // the message; empty unless deprecated
}

// Output is one output.
type Output struct {
	Name        string
	Description string
}

// Runs is how the container is started.
type Runs struct {
	Image          string // "Dockerfile", or docker:// with a digest
	Entrypoint     string
	PostEntrypoint string
	PostIf         string
	Env            map[string]string
}

// Input returns the input of that name.
func (f *File) Input(name string) (Input, bool) {
	for _, input := range f.Inputs {
		if input.Name == name {
			return input, true
		}
	}
	return Input{}, false
}

// Load reads an action.yml. Every fault in it is reported, with its position.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	return Parse(path, text)
}

// Parse is Load for a text; name stands for the file in errors.
func Parse(name string, text []byte) (*File, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fault.Errorf(fault.Input, "%s: %w", name, err)
	}
	r := &reader{name: name}
	if len(document.Content) == 0 {
		r.fail(&document, "", "is empty")
		return nil, r.faults.Err()
	}
	f := r.file(document.Content[0])
	return f, r.faults.Err()
}
