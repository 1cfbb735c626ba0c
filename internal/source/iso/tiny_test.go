package iso

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/guestweb"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/vm"
)

func TestMain(m *testing.M) {
	if guestweb.Invoked(os.Args) {
		if guestweb.Relay(context.Background(), os.Args, os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == installerArgument {
		installUntilKilled(os.Args[2])
	}
	os.Exit(m.Run())
}

// tinyKernel is a kernel as the boot protocol of 1995 has it (Linux,
// Documentation/arch/x86/boot.rst, version 2.00, not loaded high): a sector
// that is never run, a sector of code that starts in real mode with the
// firmware still there, and a kernel that is never reached. It writes text to
// the first serial port and then does each of ends.
func tinyKernel(text string, ends ...[]byte) []byte {
	const codeAt = 0x230
	// mov si, text; mov dx, 0x3f8; next: lodsb; test al, al; jz end; out dx, al; jmp next
	code := []byte{0xbe, 0, 0, 0xba, 0xf8, 0x03, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8}
	for _, each := range ends {
		code = append(code, each...)
	}
	binary.LittleEndian.PutUint16(code[1:], uint16(codeAt+len(code)))
	kernel := make([]byte, 8<<10)
	kernel[0x1f1] = 7 // sectors of setup code
	kernel[0x1fe], kernel[0x1ff] = 0x55, 0xaa
	kernel[0x200], kernel[0x201] = 0xeb, codeAt-0x202 // jmp
	copy(kernel[0x202:], "HdrS")
	kernel[0x207] = 2 // version 2.00
	copy(kernel[codeAt:], append(code, text...))
	return kernel
}

// tinyMenu is a boot sector that asks for keys up to a dot, writes a sector to
// the first disk and switches the machine off.
func tinyMenu(text string) []byte {
	const loadedAt, markAt = 0x7c00, 0x1f0
	// xor ax, ax; mov ds, ax; mov es, ax; then as tinyKernel
	code := []byte{0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0xbe, 0, 0, 0xba, 0xf8, 0x03, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8}
	for _, each := range [][]byte{waitForKeys, writeDisk, powerOff} {
		code = append(code, each...)
	}
	at := bytes.Index(code, []byte{0xbb, 0x02, 0x02})
	binary.LittleEndian.PutUint16(code[at+1:], loadedAt+markAt) // what is written
	binary.LittleEndian.PutUint16(code[7:], uint16(loadedAt+len(code)))
	sector := make([]byte, 2048)
	copy(sector, append(code, text...))
	copy(sector[markAt:], "HdrS")
	return sector
}

var (
	halt     = []byte{0xf4, 0xeb, 0xfd} // hlt; jmp back
	powerOff = []byte{                  // APM, as SeaBIOS has it
		0xb8, 0x01, 0x53, 0x31, 0xdb, 0xcd, 0x15, // mov ax, 0x5301; xor bx, bx; int 0x15
		0xb8, 0x0e, 0x53, 0x31, 0xdb, 0xb9, 0x02, 0x01, 0xcd, 0x15, // 0x530e, version 1.2
		0xb8, 0x07, 0x53, 0xbb, 0x01, 0x00, 0xb9, 0x03, 0x00, 0xcd, 0x15, // 0x5307, all devices, off
		0xf4, 0xeb, 0xfd,
	}
	reset     = []byte{0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd} // the keyboard controller's
	writeDisk = []byte{                                          // one sector, which begins with HdrS
		0xb8, 0x01, 0x03, 0xbb, 0x02, 0x02, // mov ax, 0x0301; mov bx, 0x0202
		0xb9, 0x01, 0x00, 0xba, 0x80, 0x00, 0xcd, 0x13, // mov cx, 1; mov dx, 0x80; int 0x13
	}
	waitForKeys = []byte{ // echoes what is typed, up to a dot
		0xb4, 0x00, 0xcd, 0x16, 0xba, 0xf8, 0x03, 0xee, // mov ah, 0; int 0x16; mov dx, 0x3f8; out dx, al
		0x3c, 0x2e, 0x75, 0xf4, // cmp al, '.'; jne again
	}
	chatter = []byte{ // text without end
		0xba, 0xf8, 0x03, 0xb0, 0x2e, 0xee, 0xeb, 0xf8, // mov dx, 0x3f8; mov al, '.'; out dx, al; again
	}
)

// notes is a task that keeps what it is told.
type notes struct {
	report.Task
	mu   sync.Mutex
	text strings.Builder
	// on is called at every line that holds a text.
	on map[string]func()
}

func newNotes() *notes { return &notes{Task: report.Discard.Begin(""), on: map[string]func(){}} }

func (n *notes) add(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text.WriteString(line + "\n")
	for text, fn := range n.on {
		if strings.Contains(line, text) {
			fn()
		}
	}
}

func (n *notes) Line(text string)             { n.add("| " + text) }
func (n *notes) Note(format string, a ...any) { n.add(fmt.Sprintf(format, a...)) }
func (n *notes) Warn(format string, a ...any) { n.add("warning: " + fmt.Sprintf(format, a...)) }

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// tiny is a source that starts a tiny kernel, with folders of its own.
func tiny(t *testing.T, kernel []byte, change func(*Config)) *Source {
	t.Helper()
	if testing.Short() {
		t.Skip("starts QEMU")
	}
	testkit.Tool(t, vm.Binary)
	dir := t.TempDir()
	for name, content := range map[string][]byte{"kernel": kernel, "initrd": []byte("initrd"), "answers": []byte("the answers")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := New()
	c.Kernel, c.Initrd, c.Memory, c.CPUs = "kernel", "initrd", 64*size.MiB, 1
	c.Timeout, c.Silence = time.Minute, time.Minute
	if change != nil {
		change(c)
	}
	s := Open(c, Request{
		Arch: "amd64", Disk: 64 * size.MiB, TemplateDir: dir, CacheDir: filepath.Join(dir, "cache"), FailureDir: filepath.Join(dir, "failure"), Accel: vm.TCG,
	})
	s.askAfter = 500 * time.Millisecond
	return s
}

// write runs the installer and checks what is there afterwards: the disk, or
// nothing.
func write(t *testing.T, s *Source, task report.Task) (disk []byte, err error) {
	t.Helper()
	return writeCtx(t.Context(), t, s, task)
}

func writeCtx(ctx context.Context, t *testing.T, s *Source, task report.Task) (disk []byte, err error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.raw")
	err = s.WriteDisk(ctx, path, task)
	left, readErr := os.ReadDir(dir)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err != nil && len(left) > 0 || len(left) > 1 {
		t.Errorf("%v is left", left)
	}
	if err != nil {
		return nil, err
	}
	disk, readErr = os.ReadFile(path)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if !bytes.HasPrefix(disk, []byte("HdrS")) || len(disk) != int(s.request.Disk) {
		t.Errorf("the disk has %d bytes and begins with %q", len(disk), disk[:4])
	}
	return disk, nil
}
