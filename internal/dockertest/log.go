package dockertest

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// Log is output that can be read while it is written.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is what has been written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Await returns when the log contains text, or fails the test.
func (l *Log) Await(t testing.TB, text string, limit time.Duration) {
	t.Helper()
	Eventually(t, limit, func() bool { return strings.Contains(l.String(), text) }, func() string { return "the log does not show " + text + ":\n" + l.String() })
}

// Eventually returns when ok does, or fails the test with what complaint says.
func Eventually(t testing.TB, limit time.Duration, ok func() bool, complaint func() string) {
	t.Helper()
	deadline := time.After(limit)
	for !ok() {
		select {
		case <-deadline:
			t.Fatal(complaint())
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
