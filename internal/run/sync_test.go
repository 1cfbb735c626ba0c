package run

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestScratch: a pipe cannot be synced, so a program that syncs one fails, and
// succeeds only if the kernel never hears of it.
func TestScratch(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a thread that ignores must not be another program's later
		if err := Run(t.Context(), Spec{Argv: []string{"sync", fifo}, Scratch: true}); err != nil {
			t.Errorf("with Scratch: %v", err)
		}
		if err := Run(t.Context(), Spec{Argv: []string{"sync", fifo}}); err == nil {
			t.Error("without Scratch a pipe was synced")
		}
	}
}
