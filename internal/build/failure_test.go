package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
)

func TestExplain(t *testing.T) {
	cause := errors.New("the build failed")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx    context.Context //nolint:containedctx // of a call
		stage  string
		cause  error
		bundle bool
	}{
		"a success":                  {t.Context(), "verify", nil, false},
		"a stage":                    {t.Context(), "provision", cause, true},
		"what the check finds":       {t.Context(), "check", cause, false},
		"before any stage":           {t.Context(), "", cause, false},
		"cancelled in the last boot": {cancelled, "verify", cause, false},
	} {
		b := &builder{Options: Options{Output: t.TempDir()}, plan: &plan.Plan{}, recorder: failure.Record(report.Discard)}
		machine := b.failureDir("golden.box")
		if name == "cancelled in the last boot" { // a machine has failed before that
			if err := os.MkdirAll(machine, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		err := b.explain(test.ctx, test.stage, test.cause)
		if !errors.Is(err, test.cause) {
			t.Errorf("%s: %v", name, err)
		}
		var bundle *failure.Error
		if errors.As(err, &bundle) != test.bundle {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(b.failureDir("")); (err == nil) != test.bundle {
			t.Errorf("%s: %v", name, err)
		}
		if test.bundle && (bundle.Dir != filepath.Join(b.Output, "failure")) {
			t.Errorf("%s: in %s", name, bundle.Dir)
		}
	}
}
