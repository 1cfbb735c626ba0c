package vm

import (
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
)

// bootSector is a small disk whose first sector writes text to the first serial port
// and then executes end.
func bootSector(t *testing.T, text string, end ...byte) string {
	t.Helper()
	// mov si, text; mov dx, 0x3f8; next: lodsb; test al, al; jz end; out dx, al; jmp next
	code := []byte{0xbe, 0, 0, 0xba, 0xf8, 0x03, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8}
	code = append(code, end...)
	at := 0x7c00 + len(code)
	code[1], code[2] = byte(at), byte(at>>8)
	sector := make([]byte, 1<<20)
	copy(sector, append(code, text...))
	sector[510], sector[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "boot.raw")
	if err := os.WriteFile(path, sector, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	halt = []byte{0xf4, 0xeb, 0xfd} // hlt; jmp back
	// APM, as SeaBIOS has it: connect the real-mode interface, enable, switch off.
	powerOff = []byte{
		0xb8, 0x01, 0x53, 0x31, 0xdb, 0xcd, 0x15, // mov ax, 0x5301; xor bx, bx; int 0x15
		0xb8, 0x0e, 0x53, 0x31, 0xdb, 0xb9, 0x02, 0x01, 0xcd, 0x15, // 0x530e, version 1.2
		0xb8, 0x07, 0x53, 0xbb, 0x01, 0x00, 0xb9, 0x03, 0x00, 0xcd, 0x15, // 0x5307, all devices, off
		0xf4, 0xeb, 0xfd,
	}
)

// patience bounds every wait of a test: a guest that does not do as it should
// fails one test and does not hold up all.
const patience = time.Minute

func emulator(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts QEMU")
	}
	testkit.Tool(t, Binary)
}

func start(t *testing.T, c Config) *Machine {
	t.Helper()
	emulator(t)
	c.Accel, c.Dir = TCG, t.TempDir()
	if c.Hardware.Controller == "" {
		c.Hardware.Controller = target.VirtioBlk
	}
	if c.Hardware.NIC == "" {
		c.Hardware.NIC = target.E1000
	}
	c.Hardware.Memory = 64 << 20
	m, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

func ended(t *testing.T, m *Machine) error {
	t.Helper()
	select {
	case <-m.Done():
		return m.Err()
	case <-time.After(patience):
		t.Fatalf("the machine did not end; its last lines are %q", m.Serial())
		return nil
	}
}

func TestSerialScreenAndPort(t *testing.T) {
	seen := make(chan string, 16)
	log := filepath.Join(t.TempDir(), "serial.log")
	m := start(t, Config{
		Disks:     []Disk{{Path: bootSector(t, "hello\r\n", halt...), Format: "raw", Snapshot: true}},
		SerialLog: log, OnSerial: func(line string) { seen <- line },
	})
	for line, late := "", time.After(patience); !strings.Contains(line, "hello"); {
		select {
		case line = <-seen:
		case <-late:
			t.Fatalf("the guest said nothing; its last lines are %q", m.Serial())
		}
	}
	conn, err := net.Dial("tcp", m.SSHAddr())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	screen := filepath.Join(t.TempDir(), "screen.png")
	if err := m.Screendump(t.Context(), screen); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(screen)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}
	if err := m.Shutdown(t.Context(), 10*time.Millisecond); fault.KindOf(err) != fault.Guest {
		t.Errorf("shutdown of a guest without ACPI: %v", err)
	}
	for range 2 {
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if content, _ := os.ReadFile(log); !strings.Contains(string(content), "hello") {
		t.Errorf("serial log holds %q", content)
	}
	if conn, err := net.Dial("tcp", m.SSHAddr()); err == nil {
		_ = conn.Close()
		t.Error("the port is still open")
	}
}

func TestGuestEndsEveryWait(t *testing.T) {
	for _, test := range []struct {
		name, text string
		end        []byte
		want       error
	}{
		{"power off", "bye\r\n", powerOff, ErrPoweredOff},
		{"panic", "[    1.0] Kernel panic - not syncing: no root\r\n", halt, ErrStuck},
		{"initramfs", "ALERT!  UUID=x does not exist.  Dropping to a shell!\r\n", halt, ErrStuck},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := start(t, Config{Disks: []Disk{{Path: bootSector(t, test.text, test.end...), Format: "raw", Snapshot: true}}})
			if err := ended(t, m); !errors.Is(err, test.want) {
				t.Fatalf("ended with %v", err)
			}
			ctx, cancel := m.Context(t.Context())
			defer cancel()
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), test.want) {
				t.Errorf("a wait ended with %v", context.Cause(ctx))
			}
			if tail := strings.Join(m.Serial(), "\n"); !strings.Contains(tail, strings.TrimSpace(test.text)) {
				t.Errorf("the last lines are %q", tail)
			}
		})
	}
}

func TestDiskThatDoesNotBoot(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "empty.raw")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	m := start(t, Config{Disks: []Disk{{Path: disk, Format: "raw", Snapshot: true}}})
	if err := ended(t, m); !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "No bootable device") {
		t.Errorf("ended with %v", err)
	}
}

func TestKilledEmulator(t *testing.T) {
	m := start(t, Config{})
	m.process.Kill()
	if err := ended(t, m); err == nil || errors.Is(err, ErrPoweredOff) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("ended with %v", err)
	}
	if err := m.Shutdown(t.Context(), time.Second); err == nil {
		t.Error("a dead machine was shut down")
	}
	if err := m.Screendump(t.Context(), "x.png"); err == nil {
		t.Error("a dead machine has a screen")
	}
}

func TestCancelledContext(t *testing.T) {
	emulator(t)
	ctx, cancel := context.WithCancel(t.Context())
	m, err := Start(ctx, Config{Accel: TCG, Hardware: target.Hardware{NIC: target.E1000}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := ended(t, m); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if err := m.Close(ctx); err != nil {
		t.Error(err)
	}
	if _, err := Start(ctx, Config{Accel: TCG, Hardware: target.Hardware{NIC: target.E1000}}); !errors.Is(err, context.Canceled) {
		t.Errorf("start under a cancelled context: %v", err)
	}
}

func TestBadStart(t *testing.T) {
	emulator(t)
	_, err := Start(t.Context(), Config{
		Accel: TCG, Hardware: target.Hardware{NIC: target.E1000, Controller: target.AHCI},
		Disks: []Disk{{Path: "/no/such/disk.raw", Format: "raw"}},
	})
	if fault.KindOf(err) != fault.Environment || !strings.Contains(err.Error(), "No such file") || !strings.Contains(err.Error(), Binary) {
		t.Errorf("error %v", err)
	}
}

// TestNothingIsLeft starts and stops machines and counts what remains.
func TestNothingIsLeft(t *testing.T) {
	cycles := 8
	if n, err := strconv.Atoi(os.Getenv("IMAGEBUILD_VM_CYCLES")); err == nil {
		cycles = n
	}
	dir := t.TempDir()
	start(t, Config{}).Close(t.Context())
	before := descriptors(t)
	for i := range cycles {
		c := Config{Disks: []Disk{{Path: bootSector(t, "x\r\n", halt...), Format: "raw", Snapshot: true}}, SerialLog: filepath.Join(dir, "serial")}
		m := start(t, c)
		pid := m.process.Pid()
		if i%2 == 0 {
			m.process.Kill()
		}
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
			t.Fatalf("process %d is left", pid)
		}
		if conn, err := net.Dial("tcp", m.SSHAddr()); err == nil {
			_ = conn.Close()
			t.Fatalf("port %s is left", m.SSHAddr())
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestEveryDevice starts every combination: QEMU refuses a bad command line.
func TestEveryDevice(t *testing.T) {
	if _, err := FindFirmware(); err != nil {
		t.Skip(err)
	}
	disk := bootSector(t, "x", halt...)
	for i, controller := range controllers {
		h := target.Hardware{Controller: controller, Firmware: firmwares[i%2], NIC: cards[i%4]}
		m := start(t, Config{Hardware: h, Disks: []Disk{
			{Path: disk, Format: "raw", Snapshot: true},
			{Path: disk, Format: "raw", CDROM: true},
		}})
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// peer is the other side of a QMP connection.
func peer(t *testing.T, speak func(conn net.Conn, requests *json.Decoder)) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	go func() {
		defer theirs.Close()
		speak(theirs, json.NewDecoder(theirs))
	}()
	return ours
}

func TestQMPFailures(t *testing.T) {
	say := func(conn net.Conn, text string) { _, _ = conn.Write([]byte(text + "\n")) }
	const greeting = `{"QMP": {"version": {}}}`
	for name, speak := range map[string]func(net.Conn, *json.Decoder){
		"closes":       func(net.Conn, *json.Decoder) {},
		"not JSON":     func(conn net.Conn, _ *json.Decoder) { say(conn, "hello") },
		"endless line": func(conn net.Conn, _ *json.Decoder) { say(conn, strings.Repeat("x", 2*maxQMPLine)) },
		"refuses": func(conn net.Conn, in *json.Decoder) {
			say(conn, greeting)
			_ = in.Decode(new(any))
			say(conn, `{"id": 1, "error": {"class": "GenericError", "desc": "no"}}`)
			_ = in.Decode(new(any))
		},
		"closes later": func(conn net.Conn, in *json.Decoder) { say(conn, greeting); _ = in.Decode(new(any)) },
		"silence":      func(_ net.Conn, in *json.Decoder) { _ = in.Decode(new(any)) },
		"silence, later": func(conn net.Conn, in *json.Decoder) {
			say(conn, greeting)
			_ = in.Decode(new(any))
			_ = in.Decode(new(any))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, err := newQMP(ctx, peer(t, speak), func(string, json.RawMessage) {}); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestForwardedAddr(t *testing.T) {
	const table = "Hub -1 (n):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  TCP[HOST_FORWARD]   3       127.0.0.1 33843       10.0.2.15    22     0     0\r\n"
	if got, err := forwardedAddr(table); got != "127.0.0.1:33843" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := forwardedAddr("Hub -1"); err == nil {
		t.Errorf("%q without an error", got)
	}
}

func TestSerialIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s, err := newSerial(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	chunk := []byte(strings.Repeat("\x1b[1;31mx\x07y ", 1<<13))
	for range 1 + maxSerialLog/len(chunk) {
		_, _ = s.Write(chunk)
	}
	s.close()
	if info, err := os.Stat(path); err != nil || info.Size() > maxSerialLog+200 {
		t.Errorf("%v, %v", info.Size(), err)
	}
	for _, line := range s.last() {
		if len(line) > serialTailMax || strings.ContainsAny(line, "\x1b\x07") {
			t.Errorf("kept %q", line)
		}
	}
}
