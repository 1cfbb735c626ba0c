package provision_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/provision"
)

// machine is a fake with a kernel.
type machine struct {
	fake
	reboot func(ctx context.Context) error
}

func (m *machine) Reboot(ctx context.Context) error { return m.reboot(ctx) }

func TestReboot(t *testing.T) {
	boots := 0
	m := &machine{reboot: func(ctx context.Context) error {
		deadline, ok := ctx.Deadline()
		if left := time.Until(deadline); !ok || left > time.Minute || left < 50*time.Second {
			t.Errorf("bounded by %s, %v", left, ok)
		}
		boots++
		return nil
	}}
	r := &recorder{}
	if err := provision.Run(t.Context(), step(&provision.Reboot{Timeout: time.Minute}), m, r); err != nil || boots != 1 {
		t.Fatalf("%d boots, %v", boots, err)
	}
	if len(r.notes) != 1 || !strings.HasPrefix(r.notes[0], "the guest runs anew after") {
		t.Errorf("noted %q", r.notes)
	}
}

func TestRebootWhereThereIsNoKernel(t *testing.T) {
	g, r := &fake{}, &recorder{}
	if err := provision.Run(t.Context(), step(&provision.Reboot{}), g, r); err != nil {
		t.Fatal(err)
	}
	if g.calls != 0 || len(r.notes) != 1 || !strings.Contains(r.notes[0], "nothing is restarted") {
		t.Errorf("%d calls, noted %q", g.calls, r.notes)
	}
}

func TestRebootFails(t *testing.T) {
	gone := errors.New("the guest is gone")
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, test := range map[string]struct {
		reboot func(context.Context) error
		config provision.Reboot
		want   string
	}{
		"at once":     {func(context.Context) error { return gone }, provision.Reboot{}, "reboot: the guest is gone"},
		"comes never": {hang, provision.Reboot{Timeout: time.Millisecond}, "did not come back within 1ms"},
	} {
		err := provision.Run(t.Context(), step(&test.config), &machine{reboot: test.reboot}, &recorder{})
		if err == nil || !strings.Contains(err.Error(), test.want) || fault.KindOf(err) != fault.Guest {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := provision.Run(ctx, step(&provision.Reboot{}), &machine{reboot: func(ctx context.Context) error { cancel(); return hang(ctx) }}, &recorder{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRebootConfig(t *testing.T) {
	var got faults
	(&provision.Reboot{Timeout: -time.Second}).Validate(&got)
	if len(got) != 1 {
		t.Errorf("a negative timeout: %v", got)
	}
	if err := (template.Registry{Steps: provision.Kinds()}).Check(); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(provision.Kinds(), func(k template.Kind) bool { return k.Name == "reboot" && !k.Test }) {
		t.Error("reboot is no kind of step, or one of a test")
	}
}
