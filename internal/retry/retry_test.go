package retry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var errTry = errors.New("try again")

func TestDo(t *testing.T) {
	tests := []struct {
		name     string
		policy   Policy
		failures int
		last     error
		calls    int
		waits    []time.Duration
		fails    bool
	}{
		{name: "at once", calls: 1},
		{name: "zero policy", failures: 9, calls: 1, fails: true},
		{name: "third time", policy: Policy{Attempts: 5, Delay: time.Second}, failures: 2, calls: 3, waits: []time.Duration{time.Second, 2 * time.Second}},
		{name: "used up", policy: Policy{Attempts: 3, Delay: time.Second}, failures: 9, calls: 3, waits: []time.Duration{time.Second, 2 * time.Second}, fails: true},
		{name: "bounded", policy: Policy{Attempts: 4, Delay: 2 * time.Second, MaxDelay: 3 * time.Second}, failures: 9, calls: 4, waits: []time.Duration{2 * time.Second, 3 * time.Second, 3 * time.Second}, fails: true},
		{name: "permanent", policy: Policy{Attempts: 3}, failures: 9, last: Permanent(errTry), calls: 1, fails: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				var waits []time.Duration
				test.policy.Before = func(attempt int, wait time.Duration, cause error) {
					if attempt != calls+1 || !errors.Is(cause, errTry) {
						t.Errorf("attempt %d after %d calls: %v", attempt, calls, cause)
					}
					waits = append(waits, wait)
				}
				err := Do(t.Context(), test.policy, func(_ context.Context, attempt int) error {
					if calls++; attempt != calls {
						t.Errorf("attempt %d is call %d", attempt, calls)
					}
					if calls > test.failures {
						return nil
					}
					if test.last != nil {
						return test.last
					}
					return errTry
				})
				if test.fails != (err != nil) || err != nil && !errors.Is(err, errTry) {
					t.Error(err)
				}
				if calls != test.calls || !slices.Equal(waits, test.waits) {
					t.Errorf("%d calls, waits %v", calls, waits)
				}
			})
		})
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		policy := Policy{Attempts: 3, Delay: time.Hour, MaxDelay: time.Hour, Before: func(int, time.Duration, error) { cancel() }}
		err := Do(ctx, policy, func(context.Context, int) error { return errTry })
		if !errors.Is(err, context.Canceled) || !errors.Is(err, errTry) {
			t.Error(err)
		}
	})
}
