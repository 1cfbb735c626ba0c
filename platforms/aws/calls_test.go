package aws

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
)

// attempt is a whole run, and what undoing it came to.
type attempt func(*trial, context.Context) (out target.Published, err, undone error)

// paths are the two ways to an AMI.
var paths = map[string]struct {
	begin func(testing.TB) *trial
	run   attempt
}{
	"publication": {func(t testing.TB) *trial { return newRun(t, awstest.Options{Lag: 1}).everything() }, (*trial).publish},
	"launch": {func(t testing.TB) *trial {
		r, _ := newLaunch(t, awstest.Options{Lag: 1})
		return r.everything()
	}, (*trial).launch},
}

// TestEveryCallFailing: whichever call fails, for good or with its answer lost
// on the way, nothing is left; and what can pass is got over.
func TestEveryCallFailing(t *testing.T) {
	for name, path := range paths {
		begin := func() *trial {
			r := path.begin(t)
			r.server.SetParameter("us-east-1", "/images/golden", "ami-before")
			return r
		}
		r := begin()
		r.must(path.run)
		calls := r.server.Calls()
		t.Logf("%s: %d calls", name, len(calls))
		for _, effect := range []struct {
			awstest.Fault
			passes bool
			step   int // each how many-th call fails; zero: none
		}{
			{awstest.Fault{Effect: awstest.Refuse, After: true}, false, testkit.Depth(3, 1, 1)},
			{awstest.Fault{Effect: awstest.Refuse}, false, testkit.Depth(5, 1, 1)},
			{awstest.Fault{Effect: awstest.Internal}, true, testkit.Depth(0, 2, 1)},
			{awstest.Fault{Effect: awstest.Reset}, true, testkit.Depth(0, 3, 1)},
			{awstest.Fault{Effect: awstest.Reset, After: true}, true, testkit.Depth(11, 1, 1)},
			{awstest.Fault{Effect: awstest.Hang}, true, testkit.Depth(0, 3, 1)},
			{awstest.Fault{Effect: awstest.Throttle}, true, testkit.Depth(0, 3, 1)},
		} {
			for n := 0; effect.step > 0 && n < len(calls); n += effect.step {
				r := begin()
				before := r.server.Resources()
				fault := effect.Fault
				fault.Nth = n + 1
				r.server.Fail(fault)
				_, err, undone := path.run(r, t.Context())
				complain := func(format string, args ...any) {
					t.Helper()
					t.Fatalf("%s: %s (after: %t) of call %d, %s: "+format, append([]any{name, fault.Effect, fault.After, n + 1, calls[n].Operation}, args...)...)
				}
				switch {
				case undone != nil:
					complain("%v; undo: %v", err, undone)
				case effect.passes && err != nil:
					complain("%v", err)
				case err == nil: // it passed, or a dry run was asked that decides nothing
					if left := machinesOf(r.server.Resources()); len(left) > 0 {
						complain("left %q", left)
					}
				default:
					if left := r.server.Resources(); !slices.Equal(left, before) {
						complain("left %q after %v", left, err)
					}
				}
			}
		}
	}
}

// machinesOf are the lines about what exists only while an image is made.
func machinesOf(resources []string) []string {
	return slices.DeleteFunc(slices.Clone(resources), func(line string) bool {
		kind := strings.Fields(line)[1]
		return kind == "image" || kind == "snapshot" || kind == "parameter"
	})
}

// TestCancelledDuringEveryCall: before or after it took effect, nothing is left.
func TestCancelledDuringEveryCall(t *testing.T) {
	for name, path := range paths {
		r := path.begin(t)
		r.must(path.run)
		calls := r.server.Calls()
		for n := 0; n < len(calls); n += testkit.Depth(6, 1, 1) {
			for _, after := range []bool{false, true} {
				r := path.begin(t)
				ctx, cancel := context.WithCancel(t.Context())
				r.server.Fail(awstest.Fault{Nth: n + 1, Effect: awstest.Internal, After: after, Then: cancel})
				_, err, undone := path.run(r, ctx)
				cancel()
				if undone != nil || err != nil && !errors.Is(err, context.Canceled) {
					t.Fatalf("%s: cancelled during call %d, %s (after: %t): %v; undo: %v", name, n+1, calls[n].Operation, after, err, undone)
				}
				if left := r.server.Resources(); err != nil && len(left) != 0 {
					t.Fatalf("%s: cancelled during call %d, %s (after: %t): left %q", name, n+1, calls[n].Operation, after, left)
				}
			}
		}
	}
}
