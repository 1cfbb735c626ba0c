package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/testkit"
)

// small is a template over the golden example's source, which the cache holds.
const small = `name: small
source:
  bootstrap:
    distribution: debian
    release: %s
    packages: [linux-image-amd64, openssh-server, sudo, ifupdown, isc-dhcp-client, locales, tzdata]
disk: {size: %s}
%s
platforms: {libvirt: {formats: [qcow2]}}
`

// mistakes are those that a validation alone cannot see.
func mistakes(t *testing.T, p *program) {
	for _, tc := range []struct {
		name, release, size, steps string
		args                       []string
		code                       int
		pattern                    string
	}{
		{
			"a release that does not exist", "bookwurm", "8GiB", "", nil,
			2, `bookwurm`,
		},
		{
			"a disk smaller than the tree", "bookworm", "300MiB", "",
			[]string{"--until", "pack"},
			2, `disk\.size`,
		},
		{
			"a step that fails", "bookworm", "8GiB", "provision:\n  - name: Break\n    shell: |\n      echo the reason\n      exit 7", nil,
			4, `(?s)step 1 of 1 "Break".*exit status 7.*the reason`,
		},
		{
			"a step that hangs", "bookworm", "8GiB", "provision:\n  - name: Hang\n    shell: sleep 1000 & sleep 1000\n    timeout: 2s", nil,
			4, `"Hang": timed out after 2s`,
		},
		{
			"an interpreter that is not there", "bookworm", "8GiB", "provision:\n  - shell: {inline: 'print 1', interpreter: /usr/bin/ruby}", nil,
			4, `ruby`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			writeTemplate(t, dir, tc.release, tc.size, tc.steps)
			p.run(t, dir, append([]string{"build"}, tc.args...)...).fails(t, tc.code, tc.pattern)
			for _, name := range []string{"README.txt", "plan.json", "timings.json"} {
				if _, err := os.Stat(filepath.Join(dir, "out", "failure", name)); err != nil {
					t.Error(err)
				}
			}
			if logs, _ := filepath.Glob(filepath.Join(dir, "out", "failure", "logs", "*-break.log")); tc.code == 4 && strings.Contains(tc.steps, "Break") && len(logs) != 1 {
				t.Errorf("logs %q", logs)
			}
			if left := leftovers(t, dir, p.cache); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
	t.Run("a step that prints 1 GB", func(t *testing.T) {
		dir := t.TempDir()
		writeTemplate(t, dir, "bookworm", "8GiB", "provision:\n  - name: Chatter\n    shell: head -c 1000000000 /dev/zero | tr '\\0' x | fold -w 1000; echo the end")
		o := p.run(t, dir, "build", "--until", "provision").ok(t)
		if len(o.stderr) > 16<<20 || !strings.Contains(o.stderr, "the end") {
			t.Errorf("%d bytes were shown", len(o.stderr))
		}
	})
	t.Run("no QEMU", func(t *testing.T) {
		dir := t.TempDir()
		writeTemplate(t, dir, "bookworm", "8GiB", "")
		hide := []string{"unshare", "--mount", "sh", "-euc", `mount --bind /dev/null /usr/bin/qemu-system-x86_64; exec "$@"`, "sh"}
		finish(t, p.command(t, dir, hide, "build")).fails(t, 3, `qemu-system-x86_64: command not found; install it`)
	})
	t.Run("a full disk", func(t *testing.T) {
		dir := t.TempDir()
		writeTemplate(t, dir, "bookworm", "8GiB", "")
		full := filepath.Join(dir, "full")
		wrapper := func(size string) []string {
			return []string{"unshare", "--mount", "sh", "-euc", `mkdir -p "$1"; mount -t tmpfs -o size=` + size + ` tmpfs "$1"; shift; exec "$@"`, "sh", full}
		}
		finish(t, p.command(t, dir, wrapper("100M"), "build", "--output", full)).fails(t, 3, `100\.0 MiB free, and a build needs`)
		// Enough to begin, too little to end: the file system fills up on the way.
		script := `full=$1; shift
mkdir -p "$full"; mount -t tmpfs -o size=2300M tmpfs "$full"
(until grep -qs "==> source" "$full.log"; do sleep 0.1; done; exec dd if=/dev/zero of="$full/ballast" bs=1M count=2000) 2>/dev/null & filler=$!
"$@" 2>"$full.log"; code=$?
kill $filler; cat "$full.log" >&2; echo "there is: $(ls -A "$full")" >&2; exit $code`
		cmd := p.command(t, dir, []string{"unshare", "--mount", "sh", "-uc", script, "sh", full}, "build", "--output", full, "--until", "pack")
		o := finish(t, cmd)
		o.fails(t, 3, `no space left on device; free some space`)
		if _, names, _ := strings.Cut(o.stderr, "there is: "); names != "ballast\nfailure\n" {
			t.Errorf("in the output folder: %q", names)
		}
	})
	t.Run("no root and no way to become root", func(t *testing.T) {
		dir := t.TempDir()
		writeTemplate(t, dir, "bookworm", "8GiB", "")
		for _, folder := range []string{dir, filepath.Dir(dir), filepath.Dir(p.path), filepath.Dir(filepath.Dir(p.path)), filepath.Dir(p.cache)} {
			if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // nobody must get in
				t.Fatal(err)
			}
		}
		finish(t, p.command(t, dir, []string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"}, "build")).fails(t, 3, `(?i)root|subuid`)
	})
}

func writeTemplate(t *testing.T, dir, release, size, steps string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "imagebuild.yml"), fmt.Appendf(nil, small, release, size, steps), 0o644); err != nil {
		t.Fatal(err)
	}
}

// killed ends a build by a signal at each stage, looks for leftovers, and lets
// the next build succeed.
func killed(t *testing.T, p *program, base string) {
	dir := filepath.Join(base, "killed")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeTemplate(t, dir, "bookworm", "8GiB", "provision:\n  - name: Daemon\n    shell: (sleep 1000 &) ; echo started; sleep 1000")
	patient := t.TempDir()
	writeTemplate(t, patient, "bookworm", "8GiB", "provision:\n  - shell: echo quick")
	for i, stage := range []struct {
		name, dir, line string // the signal comes when the log shows line
		args            []string
	}{
		{"source", dir, "extracting archives", []string{"--no-cache"}},
		{"checkpoint", dir, "==> provision: unpack", nil},
		{"provision", dir, "| started", nil},
		{"seal", patient, "==> seal", nil},
		{"emit", patient, "==> pack: disk", nil},
		{"pack", patient, "<== pack: disk", nil},
		{"verify", patient, "booting under", nil},
	} {
		signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGTERM}
		if testkit.Depth(true, true, false) { // each in its turn
			signals = signals[i%len(signals):][:1]
		}
		for _, signal := range signals {
			t.Run(stage.name+" "+signal.String(), func(t *testing.T) {
				out := filepath.Join(stage.dir, "out")
				cmd := p.command(t, stage.dir, nil, append([]string{"build", "--output", out}, stage.args...)...)
				log := interrupt(t, cmd, stage.line, signal)
				if signal != syscall.SIGKILL && (cmd.ProcessState.ExitCode() != 130 || !strings.Contains(log, "cancelled; everything that was begun has been removed")) {
					t.Errorf("exit code %d, want 130:\n%s", cmd.ProcessState.ExitCode(), last(log, 1500))
				}
				var left []string
				for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
					if left = leftovers(t, stage.dir, p.cache); len(left) == 0 {
						break
					}
				}
				if len(left) > 0 {
					t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
				}
				if artifacts, _ := filepath.Glob(filepath.Join(out, "*")); len(artifacts) > 0 {
					t.Errorf("the output folder holds %v", artifacts)
				}
			})
		}
	}
	p.run(t, patient, "build", "--output", filepath.Join(patient, "out"), "--until", "pack").ok(t)
}

// interrupt starts cmd, sends the signal to it alone when its log shows line,
// and returns the log when it has ended.
func interrupt(t *testing.T, cmd *exec.Cmd, line string, signal syscall.Signal) string {
	t.Helper()
	return atLine(t, cmd, line, func() {
		if err := cmd.Process.Signal(signal); err != nil {
			t.Error(err)
		}
	})
}

// atLine starts cmd, calls act once when its log shows line, and returns the
// log when it has ended.
func atLine(t *testing.T, cmd *exec.Cmd, line string, act func()) string {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	seen := false
	reader := bufio.NewReader(stderr)
	for {
		text, err := reader.ReadString('\n')
		log.WriteString(text)
		if !seen && strings.Contains(text, line) {
			seen = true
			act()
		}
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
	}
	_ = cmd.Wait()
	if !seen {
		t.Fatalf("the log never showed %q:\n%s", line, last(log.String(), 3000))
	}
	return log.String()
}
