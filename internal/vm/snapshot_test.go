package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/testkit"
)

// counting writes a letter to the disk's second sector and then to the serial
// port, again and again, some four a second, each the next of the alphabet.
var counting = []byte{
	0xfb, 0xb3, 'A', // sti; mov bl, 'A'
	0x88, 0x1e, 0x00, 0x7e, 0x53, // loop: mov [0x7e00], bl; push bx
	0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7e, 0xb9, 0x02, 0x00, 0xba, 0x80, 0x00, 0xcd, 0x13, // write 1 sector: int 0x13
	0x5b, 0xba, 0xf8, 0x03, 0x88, 0xd8, 0xee, 0xb0, 0x0a, 0xee, // pop bx; out the letter and a newline
	0xfe, 0xc3, 0xf4, 0xf4, 0xf4, 0xf4, 0xeb, 0xdb, // inc bl; hlt, four ticks; jmp loop
}

// letters collects what a counting guest says.
type letters chan string

func (l letters) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l:
		return strings.TrimSpace(line)
	case <-time.After(patience):
		t.Fatal("the guest says nothing")
		return ""
	}
}

// until reads until the guest has said letter.
func (l letters) until(t *testing.T, letter string) {
	t.Helper()
	for l.next(t) != letter {
	}
}

func overlay(t *testing.T, backing, format string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "overlay.qcow2")
	testkit.QemuImg(t, "create", "-q", "-f", "qcow2", "-b", backing, "-F", format, path)
	return path
}

func secondSector(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content[512:513])
}

func TestSnapshotAndState(t *testing.T) {
	emulator(t)
	base := bootSector(t, "", counting...)
	said := make(letters, 512)
	config := Config{Disks: []Disk{{Path: base, Format: "raw"}}, OnSerial: func(line string) { said <- line }}
	m := start(t, config)
	said.until(t, "C")
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := overlay(t, base, "raw")
	if err := m.Snapshot(t.Context(), 0, next); err != nil {
		t.Fatal(err)
	}
	frozen := secondSector(t, base)
	if frozen < "C" {
		t.Fatalf("the disk holds %q", frozen)
	}
	var state bytes.Buffer
	if err := m.SaveState(t.Context(), &state); err != nil {
		t.Fatal(err)
	}
	active := overlay(t, base, "raw") // as it was when the state was saved: nothing written yet
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	said.until(t, "H")
	if got := secondSector(t, base); got != frozen {
		t.Errorf("the snapshot's file went on changing: %q, then %q", frozen, got)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	resumed := make(letters, 512)
	config.Disks[0] = Disk{Path: active, Format: "qcow2"}
	config.Incoming, config.OnSerial = true, func(line string) { resumed <- line }
	again := start(t, config)
	if err := again.LoadState(t.Context(), &state); err != nil {
		t.Fatal(err)
	}
	if err := again.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first := resumed.next(t); first < frozen || first > "F" {
		t.Errorf("it goes on with %q after %q", first, frozen)
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestStateFails(t *testing.T) {
	emulator(t)
	disk := Disk{Path: bootSector(t, "x\r\n", halt...), Format: "raw", Snapshot: true}
	m := start(t, Config{Disks: []Disk{disk}})
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.SaveState(t.Context(), &failing{after: 1000}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("saved to a full disk: %v", err)
	}
	// The guest is unharmed: it can be saved again.
	var state bytes.Buffer
	if err := m.SaveState(t.Context(), &state); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.SaveState(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for name, content := range map[string][]byte{
		"empty": nil, "cut": state.Bytes()[:state.Len()/2], "noise": testkit.Noise(1, 4096),
	} {
		again := start(t, Config{Disks: []Disk{disk}, Incoming: true})
		if err := again.LoadState(t.Context(), bytes.NewReader(content)); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}
