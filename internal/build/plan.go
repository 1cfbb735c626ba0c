package build

import (
	"context"
	"time"

	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/source"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/platforms"
	"github.com/org/imagebuild-action/provision"
)

// recipe is raised when the same plan comes to other bytes than before.
const recipe = "1"

// Registry is everything that a template can name.
func Registry() template.Registry {
	return template.Registry{Sources: source.Kinds(), Steps: provision.Kinds(), Platforms: platforms.Kinds()}
}

// Plan resolves the template into a plan. It reads the template and the files
// that it names, and nothing else.
func Plan(ctx context.Context, o Options) (*plan.Plan, error) {
	file, err := template.Load(o.Template, Registry())
	if err != nil {
		return nil, err
	}
	return newPlan(ctx, file, o)
}

func newPlan(ctx context.Context, file *template.File, o Options) (*plan.Plan, error) {
	epoch := o.Epoch
	if epoch.IsZero() {
		epoch = time.Unix(0, 0) // stands for the source's own date, which a plan does not look up
	}
	var archs []string
	if o.Arch != "" {
		archs = []string{o.Arch}
	}
	return plan.New(ctx, file, plan.Options{
		Platforms: o.Platforms, Archs: archs, Vars: o.Vars, Env: o.LookupEnv, Version: o.Version, Tag: o.Tag, Matrix: o.Matrix, Epoch: epoch,
		Tools:         map[string]string{"imagebuild": recipe},
		GuestPackages: platforms.GuestPackages("debian", ""),
		Redact:        o.Secrets,
	})
}

// PlatformNames lists the platforms of a template, for completion; it is empty
// when the template cannot be read.
func PlatformNames(path string) []string {
	file, err := template.Load(path, Registry())
	if err != nil {
		return nil
	}
	return file.PlatformNames()
}
