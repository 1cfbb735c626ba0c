// Package provision changes a guest, step by step, and runs the tests of a
// finished one: both are steps.
//
// A kind of step is one file here: a configuration struct, its Check and its
// Apply, and one line in Kinds. It speaks to the guest through guest.Guest
// only, so it runs in a chroot, over SSH and against a test's fake alike.
//
//	step := provision.Step{Number: 1, Total: 3, Name: "Clean NIC information", Provisioner: shell, Dir: dir}
//	err := provision.Run(ctx, step, root, reporter)
//
// It refuses scripts with Windows line endings, scripts that are neither text
// nor have an interpreter, and relative destinations.
package provision

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/template"
)

// Provisioner is one kind of step with its configuration.
type Provisioner interface {
	// String says what the step does, for steps without a name.
	fmt.Stringer
	// Check finds what is wrong before anything is built. It reads the host's
	// files and changes nothing.
	Check(ctx context.Context, job Job) error
	// Apply does it. What the guest prints goes to job.Output.
	Apply(ctx context.Context, g guest.Guest, job Job) error
}

// Job is what a provisioner is given besides its configuration.
type Job struct {
	// Dir is the template's folder, from which relative paths start.
	Dir string
	// Env is additional environment for what runs in the guest, as KEY=value.
	Env []string
	// Output takes what the guest prints.
	Output io.Writer
	// Note shows a fact worth keeping; nil discards it.
	Note func(format string, args ...any)
}

func (j Job) note(format string, args ...any) {
	if j.Note != nil {
		j.Note(format, args...)
	}
}

// Abs is the host's path of a file that the template names.
func (j Job) Abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(j.Dir, path)
}

// Kinds is every kind of step, for template.Registry.Steps.
func Kinds() []template.Kind {
	return []template.Kind{
		{Name: "shell", Doc: "Runs a script in the image.", New: func() any { return &Shell{} }, Test: true},
		{Name: "file", Doc: "Puts a file or a folder into the image.", New: func() any { return &File{} }},
		{Name: "reboot", Doc: "Restarts the guest and waits until it is back; does nothing with engine: chroot.", New: func() any { return &Reboot{} }},
	}
}

var (
	_ Provisioner        = (*Shell)(nil)
	_ Provisioner        = (*File)(nil)
	_ template.Scalar    = (*Shell)(nil)
	_ template.Validator = (*Shell)(nil)
	_ template.Validator = (*File)(nil)
	_ template.FileNamer = (*Shell)(nil)
	_ template.FileNamer = (*File)(nil)
)
