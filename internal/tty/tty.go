// Package tty joins the user's terminal to a shell somewhere else, and makes
// terminals for shells here.
//
//	err := tty.Join(ctx, console, tty.Far{Input: channel, Output: channel, Resize: resize})
//
// While joined, the terminal is raw: every key goes to the shell, Ctrl-C too,
// and what the shell prints is shown as it is, as in any remote login. After
// it, whatever ended it, the terminal is as it was found. Nothing that is typed
// afterwards is swallowed.
//
// It refuses files that are no terminal, with guest.ErrNoTerminal.
package tty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
)

// Far is the shell's end.
type Far struct {
	Input  io.Writer // takes what the user types
	Output io.Reader // what the shell prints; its end is the shell's
	Resize func(columns, rows int)
}

// Check refuses what no shell can be shown on.
func Check(c guest.Console) error {
	if c.Stdin == nil || c.Stdout == nil || !term.IsTerminal(int(c.Stdin.Fd())) || !term.IsTerminal(int(c.Stdout.Fd())) {
		return fault.Wrap(fault.Input, guest.ErrNoTerminal)
	}
	return nil
}

// Size is the window's size in characters; 80 by 24 where nobody knows.
func Size(c guest.Console) (columns, rows int) {
	size := c.Size
	if size == nil {
		size = func() (int, int, error) { return term.GetSize(int(c.Stdout.Fd())) }
	}
	columns, rows, err := size()
	if err != nil || columns <= 0 || rows <= 0 {
		return 80, 24
	}
	return columns, rows
}

// Join passes keys and output on until the shell's output ends or ctx does.
func Join(ctx context.Context, c guest.Console, far Far) (err error) {
	if err := Check(c); err != nil {
		return err
	}
	state, err := term.MakeRaw(int(c.Stdin.Fd()))
	if err != nil {
		return fault.Wrap(fault.Environment, fmt.Errorf("terminal: %w", err))
	}
	defer func() { err = errors.Join(err, term.Restore(int(c.Stdin.Fd()), state)) }()
	wake, waker, err := os.Pipe()
	if err != nil {
		return fault.Wrap(fault.Environment, err)
	}
	defer wake.Close()
	var group sync.WaitGroup
	defer group.Wait()
	stop := make(chan struct{})
	defer close(stop)
	defer waker.Close() // ends the one who reads keys
	typed := make(chan []byte)
	group.Go(func() { keys(c.Stdin, wake, typed, stop) })
	go func() { // may hang until the far end is closed
		for block := range typed {
			if _, err := far.Input.Write(block); err != nil {
				return
			}
		}
	}()

	screen := &screen{w: c.Stdout}
	defer screen.end()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(screen, far.Output)
		ended <- err
	}()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, unix.EIO) { // how the end of a pseudo terminal reads
				return nil
			}
			return err
		case <-c.Resized:
			far.Resize(Size(c))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// keys reads what is typed. It waits for a key and for the end together: a
// plain read would stay behind and take the first key that is meant for whoever
// reads next.
func keys(from, wake *os.File, typed chan<- []byte, stop <-chan struct{}) {
	defer close(typed)
	wait := []unix.PollFd{{Fd: int32(from.Fd()), Events: unix.POLLIN}, {Fd: int32(wake.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(wait, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || wait[1].Revents != 0:
			return
		}
		block := make([]byte, 4096)
		n, err := from.Read(block)
		if err != nil {
			return
		}
		select {
		case typed <- block[:n]:
		case <-stop:
			return
		}
	}
}

// screen shows nothing after the end, when the terminal is the user's again.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	ended bool
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, io.ErrClosedPipe
	}
	return s.w.Write(p)
}

func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}
