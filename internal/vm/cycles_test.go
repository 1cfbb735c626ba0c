package vm

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
)

// TestCycles starts and ends a machine 200 times, in each way that one can end,
// and counts what is left: processes, descriptors, goroutines, ports, files.
func TestCycles(t *testing.T) {
	testkit.Whole(t, "200 machines take a minute")
	emulator(t)
	disks := []string{bootSector(t, "x\r\n", halt...), bootSector(t, "x\r\n", powerOff...)}
	dir := t.TempDir()
	cycle := func(i int) string {
		said := make(chan struct{}, 1)
		m, err := Start(t.Context(), Config{
			Hardware: target.Hardware{CPUs: 1, Memory: 64 << 20, Controller: target.VirtioBlk, NIC: target.VirtioNet},
			Disks:    []Disk{{Path: disks[i%2], Format: "raw", Snapshot: true}}, Accel: TCG, Dir: dir,
			OnSerial: func(string) {
				select {
				case said <- struct{}{}:
				default:
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0: // at once
		case 1: // by itself
			if err := ended(t, m); !errors.Is(err, ErrPoweredOff) {
				t.Errorf("cycle %d: %v", i, err)
			}
		case 2: // in its first breath
			select {
			case <-said:
			case <-m.Done():
			}
		case 3: // killed from outside
			m.process.Kill()
			if err := ended(t, m); err == nil {
				t.Errorf("cycle %d: it ended without a reason", i)
			}
		}
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
		return m.SSHAddr()
	}
	cycle(0) // what is made once, is made
	cycle(1)
	before, goroutines := openFiles(t), runtime.NumGoroutine()
	for i := range 200 {
		address := cycle(i)
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			t.Errorf("cycle %d: the port is open still", i)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if children := children(t); len(children) > 0 {
		t.Errorf("left processes %q", children)
	}
	// A goroutine may be on its last line.
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if after, n := openFiles(t), runtime.NumGoroutine(); after > before || n > goroutines {
		t.Errorf("%d descriptors before and %d after, %d goroutines and %d", before, after, goroutines, n)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// children lists what this process has started and not waited for (proc(5),
// the parent in stat).
func children(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(names) == 0 {
		t.Fatalf("no processes: %v", err)
	}
	var found []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // gone since
		}
		_, fields, _ := strings.Cut(string(text), ") ") // behind the name, which may hold anything
		if f := strings.Fields(fields); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			found = append(found, strings.TrimSpace(string(text)))
		}
	}
	return found
}
