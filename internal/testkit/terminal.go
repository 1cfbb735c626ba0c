package testkit

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Terminal is the person in front of a terminal: Keys are typed, and Screen is
// what they see.
type Terminal struct {
	t      testing.TB
	master *os.File

	mu     sync.Mutex
	screen bytes.Buffer
	more   chan struct{}
}

// NewTerminal watches the master of a pseudo terminal until it is closed.
func NewTerminal(t testing.TB, master *os.File) *Terminal {
	t.Helper()
	terminal := &Terminal{t: t, master: master, more: make(chan struct{}, 1)}
	go func() {
		_, _ = io.Copy(terminal, master)
	}()
	return terminal
}

// Write shows output.
func (s *Terminal) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.screen.Write(p)
}

// Type types.
func (s *Terminal) Type(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.master, keys); err != nil {
		s.t.Error(err)
	}
}

// Screen is what was shown so far.
func (s *Terminal) Screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.String()
}

// Await waits until text is on the screen.
func (s *Terminal) Await(text string) {
	s.t.Helper()
	limit := time.After(10 * time.Second)
	for !strings.Contains(s.Screen(), text) {
		select {
		case <-s.more:
		case <-limit:
			s.t.Fatalf("%q did not appear on the screen:\n%q", text, s.Screen())
		}
	}
}
