package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
)

func TestExitCode(t *testing.T) {
	guest := fault.Errorf(fault.Guest, "step failed")
	for name, tc := range map[string]struct {
		err  error
		want int
	}{
		"success":                {nil, 0},
		"unclassified is a bug":  {errors.New("x"), 6},
		"input":                  {fault.Errorf(fault.Input, "x"), 2},
		"environment":            {fault.Errorf(fault.Environment, "x"), 3},
		"guest":                  {guest, 4},
		"remote":                 {fault.Errorf(fault.Remote, "x"), 5},
		"the innermost wins":     {fault.Wrap(fault.Bug, fmt.Errorf("stage: %w", guest)), 4},
		"joined":                 {errors.Join(errors.New("clean-up"), guest), 4},
		"several %w":             {fmt.Errorf("%w and %w", errors.New("x"), guest), 4},
		"cancelled":              {fmt.Errorf("build: %w", context.Canceled), 130},
		"a kind beats cancelled": {fault.Wrap(fault.Guest, context.Canceled), 4},
		"wrapped nil":            {fault.Wrap(fault.Guest, nil), 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fault.ExitCode(tc.err); got != tc.want {
				t.Errorf("ExitCode(%v) = %d, want %d", tc.err, got, tc.want)
			}
		})
	}
}

func TestListIsSortedAndLocated(t *testing.T) {
	var list fault.List
	if list.Err() != nil {
		t.Fatal("an empty list is not an error")
	}
	list.Add(fault.Position{File: "t.yml", Line: 9, Column: 2, Field: "disk.size"}, "%q is not a size", "x")
	list.Add(fault.Position{File: "t.yml", Line: 3}, "second")
	list.Add(fault.Position{File: "t.yml"}, "first")
	err := list.Err()
	want := "t.yml: first\nt.yml:3: second\nt.yml:9:2: disk.size: \"x\" is not a size"
	if err.Error() != want {
		t.Errorf("got:\n%s\nwant:\n%s", err, want)
	}
	if fault.KindOf(err) != fault.Input {
		t.Errorf("kind %s, want input", fault.KindOf(err))
	}
}
