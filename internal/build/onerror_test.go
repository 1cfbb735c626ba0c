package build

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/cache"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/provision"
)

// stepped is a tree with steps of these names.
func stepped(source string, names ...string) *builtTree {
	t := &builtTree{sourceKey: source, plan: &plan.Tree{}}
	for _, name := range names {
		t.plan.Steps = append(t.plan.Steps, plan.Step{Name: name, Digest: name})
	}
	return t
}

func TestFirstStep(t *testing.T) {
	names := []string{"Harden SSH", "2", "shell: apt-get update", "Install"}
	for from, want := range map[string]int{"Harden SSH": 0, "1": 0, "2": 1, "3": 2, "4": 3, "Install": 3, "5": -1, "0": -1, "-1": -1, "3x": -1, "install": -1, "": -1} {
		index, found := firstStep(names, from)
		if !found {
			index = -1
		}
		if index != want {
			t.Errorf("%q: %d, want %d", from, index, want)
		}
	}
}

func TestCheckFrom(t *testing.T) {
	b := &builder{trees: []*builtTree{stepped("aa", "One", "Two"), stepped("bb", "One", "Reboot", "Two")}}
	for from, wrong := range map[string]string{
		"": "", "One": "", "Reboot": "", "3": "",
		"4":    "--from \"4\": there is no such step; give one of these, by name or number:\n  1  One\n  2  Two\n  2  Reboot\n  3  Two",
		"Thre": "there is no such step",
	} {
		b.From = from
		err := b.checkFrom()
		if (err == nil) != (wrong == "") || err != nil && (!strings.Contains(err.Error(), wrong) || fault.KindOf(err) != fault.Input) {
			t.Errorf("%q: %v", from, err)
		}
	}
	b.From, b.trees = "1", []*builtTree{stepped("aa")}
	if err := b.checkFrom(); err == nil || !strings.Contains(err.Error(), "has no steps") {
		t.Errorf("no steps: %v", err)
	}
}

func TestForget(t *testing.T) {
	checkpoints, err := cache.Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer checkpoints.Close()
	with, without := stepped("aa", "One", "Two", "Three"), stepped("bb", "One")
	b := &builder{Options: Options{From: "Two"}, cache: checkpoints, trees: []*builtTree{with, without}}
	for _, tree := range b.trees {
		for n := range len(tree.plan.Steps) + 1 {
			if err := checkpoints.Put(t.Context(), tree.key(n), func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 { // what is gone already is no error
		for _, tree := range b.trees {
			if err := b.forget(tree, tree.key, report.Discard.Begin("")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n, want := range []bool{true, true, false, false} {
		if checkpoints.Has(with.key(n)) != want {
			t.Errorf("checkpoint %d is there: %t", n, !want)
		}
	}
	if !checkpoints.Has(without.key(0)) || !checkpoints.Has(without.key(1)) {
		t.Error("a tree without the step lost its checkpoints")
	}
}

// inside is a guest in which everything fails, and that has a shell.
type inside struct{ shells int }

func (i *inside) Run(_ context.Context, c guest.Command) error {
	if c.Argv[0] == "rm" {
		return nil
	}
	return &guest.ExitError{Argv: c.Argv, Status: 1}
}
func (i *inside) Put(context.Context, guest.File, io.Reader) error { return nil }
func (i *inside) Get(context.Context, string, io.Writer) error     { return nil }
func (i *inside) Shell(context.Context, guest.Console) error       { i.shells++; return nil }

func TestShellOnError(t *testing.T) {
	for _, mode := range OnErrors {
		var shown []string
		b := &builder{Options: Options{OnError: mode, ShowShell: func(ctx context.Context, g guest.Sheller, failed error) error {
			shown = append(shown, failed.Error())
			return g.Shell(ctx, guest.Console{})
		}}}
		steps := []plan.Step{{Name: "Try", Config: &provision.Shell{Inline: "false"}, Retries: 2}}
		step, err := b.step(steps, 0)
		if err != nil {
			t.Fatal(err)
		}
		step.Pause = func(context.Context, time.Duration) error { return nil }
		g := &inside{}
		err = provision.Run(t.Context(), step, g, report.Discard)
		want := 0
		if mode == Shell {
			want = 1
		}
		if err == nil || g.shells != want || len(shown) != want {
			t.Errorf("%s: %d shells after %v, %q", mode, g.shells, err, shown)
		}
		if want > 0 && shown[0] != err.Error() {
			t.Errorf("shown %q, want %q", shown, err)
		}
		// Nobody wants a shell in a build that they have cancelled.
		ctx, cancel := context.WithCancel(t.Context())
		step.Pause = func(context.Context, time.Duration) error { cancel(); return context.Canceled }
		if err := provision.Run(ctx, step, g, report.Discard); !errors.Is(err, context.Canceled) || g.shells != want {
			t.Errorf("%s, cancelled: %d shells after %v", mode, g.shells, err)
		}
	}
}

func TestParseOnError(t *testing.T) {
	for _, each := range OnErrors {
		if got, err := ParseOnError(string(each)); err != nil || got != each {
			t.Errorf("%s: %s, %v", each, got, err)
		}
	}
	if _, err := ParseOnError("abort"); fault.KindOf(err) != fault.Input {
		t.Errorf("got %v", err)
	}
}
