package tty

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/term"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
)

// console is a user's terminal, and its other end.
func console(t *testing.T) (guest.Console, *os.File) {
	t.Helper()
	master, slave, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(master.Close(), slave.Close()) })
	return guest.Console{Stdin: slave, Stdout: slave}, master
}

func state(t *testing.T, c guest.Console) term.State {
	t.Helper()
	s, err := term.GetState(int(c.Stdin.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

func TestJoin(t *testing.T) {
	c, user := console(t)
	before := state(t, c)
	typed, input := io.Pipe()
	output, shown := io.Pipe()
	resized := make(chan os.Signal, 1)
	sizes := make(chan [2]int, 1)
	c.Resized = resized
	done := make(chan error, 1)
	go func() {
		done <- Join(t.Context(), c, Far{Input: input, Output: output, Resize: func(columns, rows int) { sizes <- [2]int{columns, rows} }})
	}()
	// Raw: Ctrl-C arrives as a key, a carriage return stays one.
	if _, err := io.WriteString(shown, "\x1b[1mready"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 9)
	if _, err := io.ReadFull(user, got); err != nil || string(got) != "\x1b[1mready" {
		t.Errorf("shown %q, %v", got, err)
	}
	if _, err := io.WriteString(user, "a\x03\r"); err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(typed, got[:3]); err != nil || string(got[:n]) != "a\x03\r" {
		t.Errorf("typed %q, %v", got[:n], err)
	}
	if err := SetSize(user, 100, 30); err != nil {
		t.Fatal(err)
	}
	resized <- syscall.SIGWINCH
	if got := <-sizes; got != [2]int{100, 30} {
		t.Errorf("size %v", got)
	}
	_ = shown.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if after := state(t, c); after != before {
		t.Error("the terminal is not as it was found")
	}
	// The next key is the next reader's.
	if _, err := io.WriteString(user, "next\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Stdin.Read(got); err != nil || string(got[:n]) != "next\n" {
		t.Errorf("read %q, %v", got[:n], err)
	}
}

// stuck is a far end that takes nothing.
type stuck struct{ release chan struct{} }

func (s stuck) Write([]byte) (int, error) { <-s.release; return 0, io.ErrClosedPipe }

func TestJoinEndsWithItsContext(t *testing.T) {
	c, user := console(t)
	before := state(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	output, shown := io.Pipe()
	far := stuck{make(chan struct{})}
	defer close(far.release)
	done := make(chan error, 1)
	go func() { done <- Join(ctx, c, Far{Input: far, Output: output}) }()
	if _, err := io.WriteString(shown, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(user, "keys that nobody takes"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if state(t, c) != before {
		t.Error("the terminal is not as it was found")
	}
}

func TestNothingIsShownAfterTheEnd(t *testing.T) {
	var shown strings.Builder
	s := &screen{w: &shown}
	_, _ = io.WriteString(s, "in time")
	s.end()
	if _, err := io.WriteString(s, "late"); !errors.Is(err, io.ErrClosedPipe) || shown.String() != "in time" {
		t.Errorf("shown %q, %v", shown.String(), err)
	}
}

func TestNoTerminal(t *testing.T) {
	c, _ := console(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, each := range []guest.Console{{}, {Stdin: r, Stdout: c.Stdout}, {Stdin: c.Stdin, Stdout: w}} {
		if err := Join(t.Context(), each, Far{}); !errors.Is(err, guest.ErrNoTerminal) || fault.KindOf(err) != fault.Input {
			t.Errorf("error %v", err)
		}
	}
}

func TestSize(t *testing.T) {
	c, user := console(t)
	if columns, rows := Size(c); columns != 80 || rows != 24 { // a new one says zero
		t.Errorf("%d by %d", columns, rows)
	}
	if err := SetSize(user, 132, 50); err != nil {
		t.Fatal(err)
	}
	if columns, rows := Size(c); columns != 132 || rows != 50 {
		t.Errorf("%d by %d", columns, rows)
	}
}
