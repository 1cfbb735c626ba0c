package build

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/provision"
)

// OnError says what becomes of a failed build.
type OnError string

// What Options.OnError can be. Empty means Clean.
const (
	Clean OnError = "clean" // everything but the failure bundle is removed
	Keep  OnError = "keep"  // the work folders stay
	Shell OnError = "shell" // a shell in the failing guest first, then as Clean
)

// OnErrors lists them, for front ends.
var OnErrors = []OnError{Clean, Keep, Shell} //nolint:gochecknoglobals // a constant list

// ParseOnError reads one of OnErrors.
func ParseOnError(text string) (OnError, error) {
	if o := OnError(text); slices.Contains(OnErrors, o) {
		return o, nil
	}
	return "", fault.Errorf(fault.Input, "--on-error %q: want clean, keep or shell", text)
}

// ShowShell lets the user into a guest in which a step has just failed, and
// returns when they leave it.
type ShowShell func(ctx context.Context, g guest.Sheller, failed error) error

// shells shows one shell at a time: several machines may fail together, and
// there is one terminal.
type shells struct{ mu sync.Mutex }

// shellOnError is what a step does when it has failed for good, or nil.
func (b *builder) shellOnError() provision.Failed {
	if b.OnError != Shell || b.ShowShell == nil {
		return nil
	}
	return func(ctx context.Context, g guest.Guest, task report.Task, failed error) {
		inside, ok := g.(guest.Sheller)
		if !ok {
			task.Warn("this guest has no shell to look around in")
			return
		}
		b.shells.mu.Lock()
		defer b.shells.mu.Unlock()
		if err := b.ShowShell(ctx, inside, failed); err != nil {
			task.Warn("the shell ended: %v", err)
		}
	}
}

// firstStep finds Options.From among a tree's steps: the index of a step by
// its name, or by its number, from one. found is false where there is none.
func firstStep(names []string, from string) (index int, found bool) {
	if index = slices.Index(names, from); index >= 0 {
		return index, true
	}
	number, err := strconv.Atoi(from)
	if err != nil || number < 1 || number > len(names) {
		return 0, false
	}
	return number - 1, true
}

// checkFrom refuses a step that no tree has, and lists those that there are.
func (b *builder) checkFrom() error {
	if b.From == "" {
		return nil
	}
	var known []string
	for _, t := range b.trees {
		names := t.stepNames()
		if _, found := firstStep(names, b.From); found {
			return nil
		}
		for i, name := range names {
			if line := fmt.Sprintf("  %d  %s", i+1, name); !slices.Contains(known, line) {
				known = append(known, line)
			}
		}
	}
	if len(known) == 0 {
		return fault.Errorf(fault.Input, "--from %q: the template has no steps", b.From)
	}
	return fault.Errorf(fault.Input, "--from %q: there is no such step; give one of these, by name or number:\n%s", b.From, strings.Join(known, "\n"))
}

// forget drops a tree's checkpoints from Options.From on, so that these steps
// run again although nothing has changed. A tree without the step keeps its
// own. key names the checkpoint after n steps.
func (b *builder) forget(t *builtTree, key func(n int) string, task report.Task) error {
	if b.From == "" {
		return nil
	}
	names := t.stepNames()
	first, found := firstStep(names, b.From)
	if !found {
		return nil
	}
	for n := first + 1; n <= len(names); n++ {
		if err := b.cache.Drop(key(n)); err != nil {
			return err
		}
	}
	task.Note("steps run again from %d, %q", first+1, names[first])
	return nil
}

func (t *builtTree) stepNames() []string {
	names := make([]string, len(t.plan.Steps))
	for i, step := range t.plan.Steps {
		names[i] = step.Name
	}
	return names
}
