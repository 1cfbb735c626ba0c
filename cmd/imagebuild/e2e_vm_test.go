package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/tree"
)

// inMachine is the golden example with engine vm, a restart in the middle, and
// a last step that the variable "last" holds.
func inMachine(t *testing.T, base string) string {
	t.Helper()
	dir := checkout(t, filepath.Join(base, "machine"))
	file := filepath.Join(dir, "imagebuild.yml")
	replace(t, file, "disk: {size: 8GiB}", "engine: vm\ndisk: {size: 8GiB}")
	replace(t, file, "variables:\n", "variables:\n  last: {default: \"true\"}\n")
	replace(t, file, "  - name: Set the banner\n", "  - name: Restart\n    reboot: {}\n\n  - name: Set the banner\n")
	replace(t, file, "# The tests run in", "  - name: Last\n    shell: ${{ var.last }}\n    timeout: 2m\n\n# The tests run in")
	return dir
}

// machines is the life of engine vm. out is what engine chroot made of the
// same template.
func machines(t *testing.T, p *program, base, out string) {
	dir := inMachine(t, base)
	results := filepath.Join(dir, "out")
	build := func(last string, args ...string) *exec.Cmd {
		return p.command(t, dir, nil, append([]string{"build", "-p", "libvirt", "-o", results, "--version", "1.2.3", "--var", "last=" + last}, args...)...)
	}
	cached := func(t *testing.T, want int) {
		t.Helper()
		steps := readResult(t, results).Trees[0].Steps
		if n := len(slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return !s.Cached })); n != want {
			t.Errorf("%d of %d steps from the cache, want %d", n, len(steps), want)
		}
	}
	const steps = 9

	cold := t.Run("the last step fails, and says where to look", func(t *testing.T) {
		start := time.Now()
		o := finish(t, build("echo the reason; exit 7", "--live-checkpoints"))
		o.fails(t, 4, `(?s)step 9 of 9 "Last".*exit status 7.*the reason.*failure`)
		t.Logf("cold, to the failure of the last step: %.0f s", time.Since(start).Seconds())
		if eased := "with its kernel unpacked and its initramfs cut down"; strings.Contains(o.stderr, "booting under TCG") && !strings.Contains(o.stderr, eased) {
			t.Errorf("an emulated machine did not start %s", eased)
		}
		for name, holds := range map[string]string{
			"README.txt": "Last", "plan.json": `"engine": "vm"`, "timings.json": "Last", "machine/serial.log": "Debian GNU/Linux", "machine/reproduce.sh": "qemu-system-x86_64", "machine/screen.png": "\x89PNG",
		} {
			text, err := os.ReadFile(filepath.Join(results, "failure", name))
			if err != nil || !bytes.Contains(text, []byte(holds)) {
				t.Errorf("failure/%s does not hold %q: %v", name, holds, err)
			}
		}
		if logs, _ := filepath.Glob(filepath.Join(results, "failure", "logs", "*last*")); len(logs) != 1 {
			t.Errorf("logs of the step: %q", logs)
		}
		noMachineLeft(t, p, dir)
	})
	if !cold {
		return
	}
	t.Run("mended, it goes on live, and is what a chroot makes of it", func(t *testing.T) {
		start := time.Now()
		o := finish(t, build("true", "--live-checkpoints", "--until", "pack")).ok(t)
		t.Logf("resumed live and packed: %.1f s: %v", time.Since(start).Seconds(), readResult(t, results).Stages)
		if !strings.Contains(o.stderr, "without a boot") {
			t.Error("it booted")
		}
		cached(t, steps-1)
		sameButExplained(t, p, out, results)
		if _, err := os.Stat(filepath.Join(results, "failure")); err == nil {
			t.Error("the failure bundle of the build before is there still")
		}
	})
	t.Run("nothing changed, no machine", func(t *testing.T) {
		o := finish(t, build("true", "--until", "pack")).ok(t)
		if strings.Contains(o.stderr, "boot the machine") {
			t.Error("a machine was booted")
		}
		cached(t, steps)
		sameButExplained(t, p, out, results)
	})
	for _, tc := range []struct{ name, last, pattern string }{
		{"powers off in mid-step", "systemctl poweroff --force --force; sleep 100", `the guest powered off`},
		{"panics", "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 100", `the guest is stuck.*Kernel panic`},
		{
			"fills its disk", "for n in 1G 64M 1M 4K; do i=0; while fallocate -l $n /fill.$n.$i 2>/dev/null; do i=$((i+1)); done; done; cat /var/lib/dpkg/status >/last",
			`(?s)exit status 1.*No space left on device`,
		},
		{"writes a log without end", "yes 0123456789 | head -c 100M >/dev/ttyS0 & yes 0123456789 | head -c 50M; exit 3", `exit status 3`},
		{"stops its ssh server", "pkill -KILL sshd; sleep 100", `lost|closed`},
	} {
		t.Run("the guest "+tc.name, func(t *testing.T) {
			start := time.Now()
			finish(t, build(tc.last, "--live-checkpoints", "--until", "provision")).fails(t, 4, tc.pattern)
			t.Logf("%.0f s", time.Since(start).Seconds())
			noMachineLeft(t, p, dir)
			if size := sizeOf(t, filepath.Join(results, "failure")); size > 40<<20 {
				t.Errorf("the failure bundle has %d bytes", size)
			}
		})
	}
	t.Run("QEMU is killed", func(t *testing.T) {
		cmd := build("echo now; sleep 300", "--live-checkpoints", "--until", "provision")
		log := atLine(t, cmd, "| now", func() {
			for _, pid := range machinesOf(p) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
		outcome{stderr: log, code: cmd.ProcessState.ExitCode()}.fails(t, 4, `QEMU ended: .*killed`)
		noMachineLeft(t, p, dir)
	})
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run("imagebuild gets "+signal.String(), func(t *testing.T) {
			interrupt(t, build("echo now; sleep 300", "--live-checkpoints", "--until", "provision"), "| now", signal)
			noMachineLeft(t, p, dir)
		})
	}
	t.Run("two builds at once on one cache", func(t *testing.T) {
		var group sync.WaitGroup
		outcomes := make([]outcome, 2)
		for i := range outcomes {
			group.Go(func() {
				last := "echo build " + strconv.Itoa(i) + " >/etc/which"
				cmd := p.command(t, dir, nil, "build", "-p", "libvirt", "-o", filepath.Join(dir, "out"+strconv.Itoa(i)), "--var", "last="+last, "--live-checkpoints", "--until", "pack")
				outcomes[i] = finish(t, cmd)
			})
		}
		group.Wait()
		for i, o := range outcomes {
			o.ok(t)
			if got := fileIn(t, filepath.Join(dir, "out"+strconv.Itoa(i)), "etc/which"); got != "build "+strconv.Itoa(i)+"\n" {
				t.Errorf("build %d holds %q", i, got)
			}
		}
	})
	t.Run("a checkpoint is damaged, and the disk boots", func(t *testing.T) {
		damageCheckpoint(t, p, steps-1)
		start := time.Now()
		o := finish(t, build("echo other", "--until", "provision")).ok(t)
		t.Logf("resumed from the disk's checkpoint: %.0f s", time.Since(start).Seconds())
		if !strings.Contains(o.stderr, "entered after") {
			t.Error("it did not boot")
		}
		if !strings.Contains(o.stderr, "damaged") {
			t.Error("the damage was not mentioned")
		}
		cached(t, steps-2)
	})
}

type step = struct {
	Name    string
	Seconds float64
	Cached  bool
}

// sameButExplained compares what the two engines made, and explains all of it:
// grub.cfg and fstab name the root file system by a UUID that is derived from
// the plan, and the plan names the engine.
func sameButExplained(t *testing.T, p *program, chroot, machine string) {
	t.Helper()
	o := p.run(t, filepath.Dir(machine), "diff", manifestOf(t, chroot), manifestOf(t, machine))
	var differ []string
	for line := range strings.Lines(o.stdout) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "path" {
			differ = append(differ, strings.TrimSuffix(fields[1], ":"))
		}
	}
	if !slices.Equal(differ, []string{"boot/grub/grub.cfg", "etc/fstab"}) {
		t.Errorf("the engines differ in %d paths:\n%.2000s", len(differ), o.stdout)
		return
	}
	uuid := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-F]{4}-[0-9A-F]{4}`)
	for _, name := range differ {
		a, b := uuid.ReplaceAllString(fileIn(t, chroot, name), "UUID"), uuid.ReplaceAllString(fileIn(t, machine, name), "UUID")
		if a != b || !strings.Contains(a, "UUID") {
			t.Errorf("%s differs in more than UUIDs:\n%s\n%s", name, a, b)
		}
	}
}

// fileIn reads a file of the image in the qcow2 of an output folder.
func fileIn(t *testing.T, out, name string) string {
	t.Helper()
	images, err := filepath.Glob(filepath.Join(out, "*-libvirt-*.qcow2"))
	if err != nil || len(images) != 1 {
		t.Fatalf("%s: %q, %v", out, images, err)
	}
	disk, err := artifact.OpenDisk(t.Context(), images[0], t.TempDir(), report.Discard.Begin(""))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	root, err := extract.Root(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	content, err := tree.ReadFile(t.Context(), root, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// machinesOf lists the processes of QEMU that work below the program's cache.
func machinesOf(p *program) []int {
	var pids []int
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		line, err := os.ReadFile(name)
		if err == nil && bytes.HasPrefix(line, []byte("qemu-system")) && bytes.Contains(line, []byte(p.cache)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// noMachineLeft fails if a process, or anything of a work folder, is there
// soon after a build.
func noMachineLeft(t *testing.T, p *program, dir string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = leftovers(t, dir, p.cache)
		for _, pid := range machinesOf(p) {
			left = append(left, "process "+strconv.Itoa(pid))
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
}

func sizeOf(t *testing.T, dir string) (total int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err == nil {
			if info, statErr := entry.Info(); statErr == nil {
				total += info.Size()
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return total
}

// damageCheckpoint truncates every saved state of a machine, and the layer of
// the disk after n steps.
func damageCheckpoint(t *testing.T, p *program, n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.cache, "checkpoints", "*.zst"))
	if err != nil {
		t.Fatal(err)
	}
	below, layers := map[string]string{}, map[string]string{}
	for _, file := range files {
		var header struct {
			ID, Below string
			Seed      []byte
		}
		switch err := firstLine(t, file, &header); {
		case err != nil: // no layer and no state
		case header.Seed != nil:
			truncate(t, file)
		case header.ID != "":
			below[header.ID], layers[header.ID] = header.Below, file
		}
	}
	damaged := 0
	for id, file := range layers {
		depth := 0
		for at := id; below[at] != ""; at = below[at] {
			depth++
		}
		if depth == n {
			truncate(t, file)
			damaged++
		}
	}
	if damaged != 1 {
		t.Fatalf("%d layers of depth %d among %d entries", damaged, n, len(files))
	}
}

func firstLine(t *testing.T, file string, header any) error {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frame, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer frame.Close()
	line, err := bufio.NewReader(io.LimitReader(frame, 4<<10)).ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, header)
}

func truncate(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err == nil {
		err = os.Truncate(file, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}
