package pack

import (
	"context"

	"github.com/org/imagebuild-action/internal/target"
)

// Platform is what platforms that yield files answer alike. They embed it.
type Platform struct {
	Name    string // in the template
	Machine target.Hardware
}

// String returns the name in the template.
func (p Platform) String() string { return p.Name }

// Check has nothing to look at: no tool of a hypervisor's is used.
func (p Platform) Check(context.Context) error { return nil }

// Hardware is the machine that the artifacts describe.
func (p Platform) Hardware() target.Hardware { return p.Machine }
