// Package undo takes back what a run acquired: newest first, after a
// cancellation too, each with a time limit, every failure reported.
//
//	var stack undo.Stack
//	defer func() { err = errors.Join(err, stack.Close(ctx)) }()
//	id, err := create(ctx)
//	stack.Push("snapshot "+id, func(ctx context.Context) error { return remove(ctx, id) })
package undo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// DefaultLimit bounds one undo function unless Stack.Limit says otherwise.
const DefaultLimit = time.Minute

// Stack is a list of things to take back. The zero value is ready; it is safe
// for concurrent use.
type Stack struct {
	// Limit is the time that each function may take; zero means DefaultLimit.
	Limit time.Duration

	mu    sync.Mutex
	items []item
}

type item struct {
	what string
	fn   func(context.Context) error
}

// Push registers fn, which takes back what. Call it on the line after the
// acquisition.
func (s *Stack) Push(what string, fn func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = append(s.items, item{what, fn})
}

// Keep forgets everything pushed so far: the run succeeded and its results stay.
func (s *Stack) Keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = nil
}

// Close runs what is left, newest first. It ignores ctx's cancellation but
// keeps its values. Closing twice is harmless.
func (s *Stack) Close(ctx context.Context) error {
	s.mu.Lock()
	items := s.items
	s.items = nil
	s.mu.Unlock()
	limit := s.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	var errs []error
	for i := len(items) - 1; i >= 0; i-- {
		if err := runOne(context.WithoutCancel(ctx), limit, items[i].fn); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", items[i].what, err))
		}
	}
	return errors.Join(errs...)
}

func runOne(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- fn(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("gave up after %s: %w", limit, ctx.Err())
	}
}
