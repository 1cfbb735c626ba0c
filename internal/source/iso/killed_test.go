package iso

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/vm"
)

// installerArgument makes this test binary a program that installs from a
// folder until it is killed.
const installerArgument = "install-until-killed"

func installUntilKilled(dir string) {
	c := New()
	c.Kernel, c.Initrd, c.Memory, c.Via, c.Unattended.Kickstart = "kernel", "initrd", 64*size.MiB, viaHTTP, "answers"
	task := newNotes()
	task.on["started"] = func() { fmt.Println("at work") }
	s := Open(c, Request{Disk: size.MiB, TemplateDir: dir, CacheDir: dir, Accel: vm.TCG})
	fmt.Println(s.WriteDisk(context.Background(), filepath.Join(dir, "work", "disk.raw"), task))
}

// TestKilled: after kill -9 there is no emulator, no relay, no work folder and
// no socket.
func TestKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts QEMU")
	}
	testkit.Tool(t, vm.Binary)
	dir := t.TempDir()
	for name, content := range map[string][]byte{"kernel": tinyKernel("started\r\n", chatter), "initrd": nil, "answers": nil, "work/x": nil} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], installerArgument, dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "at work\n" {
		t.Fatalf("%q, %v", line, err)
	}
	running := processesOf(t, dir)
	socket := regexp.MustCompile(`guest-web-relay (\S+)/s`).FindStringSubmatch(strings.Join(running, "\n"))
	if len(running) == 0 || socket == nil {
		t.Fatalf("running: %q", running)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	ticker, late := time.NewTicker(20*time.Millisecond), time.After(20*time.Second)
	defer ticker.Stop()
	for {
		left := processesOf(t, dir)
		folders, err := filepath.Glob(filepath.Join(dir, "work", workPrefix+"*"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(socket[1]); err == nil {
			folders = append(folders, socket[1])
		}
		if len(left) == 0 && len(folders) == 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("left: %q, %q", left, folders)
		}
	}
}

// processesOf lists the command lines of others that name dir: the emulator's,
// the relays', the guards'.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range all {
		text, err := os.ReadFile(name) // it may be gone
		line := strings.ReplaceAll(string(text), "\x00", " ")
		if err == nil && strings.Contains(line, dir) && !strings.Contains(line, installerArgument) {
			found = append(found, line)
		}
	}
	return found
}
