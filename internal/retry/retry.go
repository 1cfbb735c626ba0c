// Package retry does something again until it works.
//
//	err := retry.Do(ctx, retry.Policy{Attempts: 3, Delay: time.Second}, func(ctx context.Context, attempt int) error {
//		return download(ctx, url)
//	})
//
// The wait doubles from one attempt to the next. It has no random part: what a
// build does must not depend on chance.
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DefaultMaxDelay bounds the wait between two attempts unless a Policy does.
const DefaultMaxDelay = time.Minute

// Policy says how often, and how long to wait in between.
type Policy struct {
	Attempts int           // in all; less than one means one
	Delay    time.Duration // before the second attempt
	MaxDelay time.Duration // zero means DefaultMaxDelay
	// Before is told about every further attempt before the wait; may be nil.
	Before func(attempt int, wait time.Duration, cause error)
}

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// Permanent marks an error that no further attempt can mend. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// Do calls fn with the number of the attempt, from one on, until it returns
// nil or a Permanent error, the attempts are used up or ctx ends. The error is
// fn's last one; after several attempts it says how many there were.
func Do(ctx context.Context, policy Policy, fn func(ctx context.Context, attempt int) error) error {
	limit := policy.MaxDelay
	if limit <= 0 {
		limit = DefaultMaxDelay
	}
	wait := min(policy.Delay, limit)
	for attempt := 1; ; attempt++ {
		err := fn(ctx, attempt)
		var stop *permanent
		switch {
		case err == nil:
			return nil
		case errors.As(err, &stop) || ctx.Err() != nil || attempt >= policy.Attempts:
			if attempt > 1 {
				err = fmt.Errorf("after %d attempts: %w", attempt, err)
			}
			return err
		}
		if policy.Before != nil {
			policy.Before(attempt+1, wait, err)
		}
		if sleepErr := Sleep(ctx, wait); sleepErr != nil {
			return fmt.Errorf("%w while waiting for another attempt after: %w", sleepErr, err)
		}
		wait = min(2*wait, limit)
	}
}

// Sleep waits for d, or returns why ctx ended before.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
