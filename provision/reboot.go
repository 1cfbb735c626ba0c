package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/template"
)

// DefaultRebootTimeout is how long a guest may take to come back: an emulated
// one needs a minute and a half for what a real one does in seconds.
const DefaultRebootTimeout = 10 * time.Minute

// Reboot restarts the guest and waits until it runs anew, so that the next
// steps meet a new kernel, new units and new mounts.
//
//   - reboot: {timeout: 5m}
//
// With engine: chroot there is nothing to restart: no kernel of the image's
// runs, and the image boots afresh wherever it is used. There the step does
// nothing and says so, and one template works with either engine.
type Reboot struct {
	Timeout time.Duration `yaml:"timeout" digest:"-" doc:"The longest that the guest may take to come back. Default: 10m. With engine: chroot the step does nothing, as no kernel of the image's runs."`
}

// Validate implements template.Validator.
func (r *Reboot) Validate(faults template.Faults) {
	if r.Timeout < 0 {
		faults.Add("timeout", "%s is not a time to wait; leave it out for %s", r.Timeout, DefaultRebootTimeout)
	}
}

// String says what the step does.
func (r *Reboot) String() string { return "reboot" }

// Check implements Provisioner.
func (r *Reboot) Check(context.Context, Job) error { return nil }

// Apply implements Provisioner.
func (r *Reboot) Apply(ctx context.Context, g guest.Guest, job Job) error {
	machine, ok := g.(guest.Rebooter)
	if !ok {
		job.note("nothing is restarted: the steps of engine: chroot run without a kernel of the image's")
		return nil
	}
	limit := r.Timeout
	if limit == 0 {
		limit = DefaultRebootTimeout
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the guest did not come back within %s; look at its console, or raise the timeout of the reboot", limit))
	defer cancel()
	start := time.Now()
	if err := machine.Reboot(limited); err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("reboot: %w (%w)", context.Cause(limited), err)
		}
		return fmt.Errorf("reboot: %w", err)
	}
	job.note("the guest runs anew after %s", time.Since(start).Round(time.Second))
	return nil
}

var (
	_ Provisioner        = (*Reboot)(nil)
	_ template.Validator = (*Reboot)(nil)
)
