package undo_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/undo"
)

func TestNewestFirstAfterCancellationAllErrors(t *testing.T) {
	var stack undo.Stack
	var order []string
	push := func(name string, err error) {
		stack.Push(name, func(ctx context.Context) error {
			if ctx.Err() != nil {
				t.Errorf("%s runs under a cancelled context", name)
			}
			order = append(order, name)
			return err
		})
	}
	push("first", errors.New("still busy"))
	push("second", nil)
	stack.Push("third", func(context.Context) error { panic("oops") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := stack.Close(ctx)
	if want := []string{"second", "first"}; !slices.Equal(order, want) {
		t.Errorf("ran %v, want %v", order, want)
	}
	for _, want := range []string{"undo first: still busy", "undo third: panic: oops"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if err := stack.Close(t.Context()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestKeep(t *testing.T) {
	var stack undo.Stack
	stack.Push("x", func(context.Context) error { return errors.New("must not run") })
	stack.Keep()
	if err := stack.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLimit(t *testing.T) {
	stack := undo.Stack{Limit: time.Millisecond}
	release := make(chan struct{})
	defer close(release)
	stack.Push("hangs", func(context.Context) error { <-release; return nil })
	if err := stack.Close(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
}
