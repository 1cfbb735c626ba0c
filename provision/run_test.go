package provision_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/provision"
)

func step(p provision.Provisioner) provision.Step {
	return provision.Step{Number: 2, Total: 6, Name: "Try it", Provisioner: p}
}

func TestRunSaysWhatFailed(t *testing.T) {
	g := &fake{run: func(_ context.Context, c guest.Command) error {
		for i := range 30 {
			fmt.Fprintf(c.Stdout, "line %d\n", i)
		}
		fmt.Fprint(c.Stderr, "the end")
		return &guest.ExitError{Argv: c.Argv, Status: 3}
	}}
	r := &recorder{}
	err := provision.Run(t.Context(), step(&provision.Shell{Inline: "x"}), g, r)
	var failed *provision.Error
	if !errors.As(err, &failed) || len(failed.Tail) != 20 || failed.Tail[19] != "the end" || failed.Tail[0] != "line 11" {
		t.Fatalf("got %+v", failed)
	}
	if !strings.HasPrefix(err.Error(), "step 2 of 6 \"Try it\": exit status 3; its last lines:\n    line 11\n") {
		t.Errorf("got %v", err)
	}
	if fault.KindOf(err) != fault.Guest {
		t.Errorf("kind %s", fault.KindOf(err))
	}
	if len(r.lines) != 31 || r.err == nil {
		t.Errorf("%d lines, %v", len(r.lines), r.err)
	}
	if len(g.files) != 0 {
		t.Errorf("left in the guest: %v", g.listing())
	}
}

func TestRetries(t *testing.T) {
	for _, test := range []struct{ retries, failures, runs int }{{0, 1, 1}, {2, 1, 2}, {2, 2, 3}, {2, 9, 3}} {
		runs := 0
		g := &fake{run: func(_ context.Context, c guest.Command) error {
			if runs++; runs <= test.failures {
				return &guest.ExitError{Argv: c.Argv, Status: 1}
			}
			return nil
		}}
		s := step(&provision.Shell{Inline: "x"})
		s.Retries = test.retries
		var pauses []time.Duration
		s.Pause = func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }
		r := &recorder{}
		err := provision.Run(t.Context(), s, g, r)
		if runs != test.runs || len(pauses) != test.runs-1 || len(r.warnings) != test.runs-1 {
			t.Errorf("%+v: %d runs, %v, %v", test, runs, pauses, r.warnings)
		}
		if (err == nil) != (test.failures < test.runs) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestTimeoutIsNoCancellation(t *testing.T) {
	hang := &fake{run: func(ctx context.Context, _ guest.Command) error { <-ctx.Done(); return ctx.Err() }}
	s := step(&provision.Shell{Inline: "x"})
	s.Timeout = time.Millisecond
	err := provision.Run(t.Context(), s, hang, &recorder{})
	if fault.KindOf(err) != fault.Guest || !strings.Contains(err.Error(), "timed out after 1ms") {
		t.Errorf("got %s: %v", fault.KindOf(err), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	hang.run = func(ctx context.Context, _ guest.Command) error { cancel(); <-ctx.Done(); return ctx.Err() }
	s.Timeout, s.Retries = 0, 5
	err = provision.Run(ctx, s, hang, &recorder{})
	if fault.KindOf(err) != fault.Cancelled || !errors.Is(err, context.Canceled) {
		t.Errorf("got %s: %v", fault.KindOf(err), err)
	}
	if len(hang.files) != 0 {
		t.Errorf("left in the guest: %v", hang.listing())
	}
}

func TestEndlessOutput(t *testing.T) {
	for _, test := range []struct{ name, block string }{
		{"lines", strings.Repeat(strings.Repeat("x", 99)+"\n", 10_000)},
		{"one line", strings.Repeat("y", 1_000_000)},
		{"empty lines", strings.Repeat("\n", 20_000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			block := []byte(test.block)
			var before, after runtime.MemStats
			g := &fake{run: func(_ context.Context, c guest.Command) error {
				runtime.GC()
				runtime.ReadMemStats(&before)
				for range 20 {
					if _, err := c.Stdout.Write(block); err != nil {
						return err
					}
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				fmt.Fprintln(c.Stdout, "\nthe end")
				return nil
			}}
			r := &recorder{}
			if err := provision.Run(t.Context(), step(&provision.Shell{Inline: "x"}), g, r); err != nil {
				t.Fatal(err)
			}
			if r.bytes > 5<<20 || len(r.notes) > 4 || r.lines[len(r.lines)-1] != "the end" {
				t.Errorf("%d bytes shown, notes %v", r.bytes, r.notes)
			}
			// The recorder itself keeps the 4 MiB that were shown, as strings.
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
				t.Errorf("the heap grew by %d bytes", grown)
			}
		})
	}
}

func TestEveryCallFails(t *testing.T) {
	dir := t.TempDir()
	for name, p := range map[string]provision.Provisioner{
		"inline":  &provision.Shell{Inline: "x"},
		"content": &provision.File{Content: new(string), Destination: "/x"},
	} {
		for n := 1; ; n++ {
			g := &fake{failAt: n}
			s := step(p)
			s.Dir = dir
			err := provision.Run(t.Context(), s, g, &recorder{})
			if g.calls < n {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			if !errors.Is(err, errFake) {
				t.Errorf("%s, call %d: %v", name, n, err)
			}
			if n < 3 && len(g.files) > 0 {
				t.Errorf("%s, call %d: left %v", name, n, g.listing())
			}
		}
	}
}

func BenchmarkOutput(b *testing.B) {
	block := bytes.Repeat([]byte("a line of a package manager's output\n"), 1000)
	b.SetBytes(int64(len(block)))
	g := &fake{run: func(_ context.Context, c guest.Command) error {
		for b.Loop() {
			if _, err := c.Stdout.Write(block); err != nil {
				return err
			}
		}
		return nil
	}}
	if err := provision.Run(b.Context(), step(&provision.Shell{Inline: "x"}), g, &recorder{}); err != nil {
		b.Fatal(err)
	}
}
