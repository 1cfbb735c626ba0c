package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/testkit"
)

// The tests below build real images and boot them. Those of a group run in order
// and share one cache, so that what is told about a warm cache is true. Groups
// run side by side: a build or an emulated machine alone leaves a core idle for
// most of its time.

// program is the built binary with its cache.
type program struct {
	path  string
	cache string
}

// outcome is how one run of the program went.
type outcome struct {
	stdout, stderr string
	code           int
}

func newProgram(t *testing.T) *program {
	t.Helper()
	testkit.NotQuick(t, "builds and boots real images")
	if os.Geteuid() != 0 {
		t.Fatal("building and booting real images needs root")
	}
	p := &program{path: filepath.Join(t.TempDir(), "imagebuild")}
	if out, err := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", p.path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return p
}

// withCache returns the program with a cache of its own, a copy of p's if it has
// one.
func (p *program) withCache(t *testing.T) *program {
	t.Helper()
	own := &program{path: p.path, cache: filepath.Join(testkit.Scratch(t), "cache")}
	if _, err := os.Stat(p.cache); err == nil {
		if err := os.CopyFS(own.cache, os.DirFS(p.cache)); err != nil {
			t.Fatal(err)
		}
	}
	return own
}

// command prepares a run; wrapper, if any, stands before the program.
func (p *program) command(t *testing.T, dir string, wrapper []string, args ...string) *exec.Cmd {
	argv := append(append(slices.Clone(wrapper), p.path), args...)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "IMAGEBUILD_CACHE="+p.cache)
	return cmd
}

func (p *program) run(t *testing.T, dir string, args ...string) outcome {
	t.Helper()
	return finish(t, p.command(t, dir, nil, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ok fails the test unless the run succeeded.
func (o outcome) ok(t *testing.T) outcome {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("exit code %d:\n%s", o.code, last(o.stderr, 4000))
	}
	return o
}

// fails demands an exit code and a message.
func (o outcome) fails(t *testing.T, code int, pattern string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d:\n%s", o.code, code, last(o.stderr, 3000))
	}
	if !regexp.MustCompile(pattern).MatchString(o.stderr) {
		t.Errorf("stderr does not match %q:\n%s", pattern, last(o.stderr, 3000))
	}
}

func last(text string, n int) string { return text[max(0, len(text)-n):] }

// result is what the tests look at in result.json.
type result struct {
	Seconds   float64
	Artifacts []struct{ Name, Kind, Platform, SHA256 string }
	Verified  []struct {
		Artifact string
		Tests    []struct{ Name, Error string }
	}
	Trees []struct {
		SHA256   string
		Manifest string
		Steps    []struct {
			Name    string
			Seconds float64
			Cached  bool
		}
	}
	Stages []struct {
		Stage   string
		Seconds float64
	}
}

func readResult(t *testing.T, out string) result {
	t.Helper()
	var r result
	text, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// checkout copies the example as a user's clone would have it.
func checkout(t *testing.T, dir string) string {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS("../../examples/golden")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func replace(t *testing.T, file, old, with string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte(old)) {
		t.Fatalf("%s does not hold %q: %v", file, old, err)
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte(old), []byte(with), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestE2E(t *testing.T) {
	p := newProgram(t)
	golden := &life{program: p.withCache(t), base: t.TempDir()}
	golden.out = filepath.Join(golden.base, "out one")
	if !t.Run("three platforms from one template, booted", golden.begins) {
		return
	}
	beside := golden.withCache(t)
	for _, group := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"golden", golden.goesOn},
		{"in a machine", func(t *testing.T) { machines(t, beside, golden.base, golden.out) }},
		{"cloud", func(t *testing.T) { cloud(t, p.withCache(t)) }},
		{"installer", func(t *testing.T) { installer(t, p.withCache(t)) }},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			t.Cleanup(testkit.Turn(t))
			group.run(t)
		})
	}
}

// life is that of the golden example: what is built of it first, and all that is
// made of that.
type life struct {
	*program
	base string // folder of all that is built
	out  string // of the first build
}

func (l *life) begins(t *testing.T) {
	t.Cleanup(testkit.Turn(t))
	p, out := l.program, l.out
	dir := checkout(t, filepath.Join(l.base, "Bilder für alle", "golden"))
	until := testkit.Depth("", "pack", "verify")
	o := p.run(t, dir, "build", "--output", out, "--version", "1.2.3", "--until", until).ok(t)
	r := readResult(t, out)
	booted, boots, log := r.Verified, 6, o.stderr
	if until == "pack" { // one of a kind; those of libvirt are booted by the action's test
		args := []string{"test", "--json", "--template", dir}
		for _, name := range []string{"virtualbox-amd64.ova", "vmware-amd64.box"} {
			args = append(args, filepath.Join(out, "golden-1.2.3-"+name))
		}
		o := p.run(t, dir, args...).ok(t)
		if err := json.Unmarshal([]byte(o.stdout), &booted); err != nil {
			t.Fatal(err)
		}
		boots, log = 2, o.stderr
	}
	if len(r.Artifacts) != 6 || len(booted) != boots {
		t.Fatalf("%d artifacts, %d booted, want 6 and %d", len(r.Artifacts), len(booted), boots)
	}
	for _, v := range booted {
		if len(v.Tests) != 6 {
			t.Errorf("%s: %d tests ran, want 6", v.Artifact, len(v.Tests))
		}
		for _, test := range v.Tests {
			if test.Error != "" {
				t.Errorf("%s: %s: %s", v.Artifact, test.Name, test.Error)
			}
		}
	}
	// Every boot is a machine of its own.
	for _, what := range []string{"machine-id", "host-key"} {
		ids := regexp.MustCompile(`\| `+what+` (\S+)`).FindAllStringSubmatch(log, -1)
		seen := map[string]bool{}
		for _, id := range ids {
			seen[id[1]] = true
		}
		if len(ids) != boots || len(seen) != boots {
			t.Errorf("%s: %d seen in %d boots, %d different ones", what, len(ids), boots, len(seen))
		}
	}
	sums := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = out
	if text, err := sums.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, text)
	}
	t.Logf("%.0f s: %v", r.Seconds, r.Stages)
}

// goesOn is what becomes of the images and the cache of a first build.
func (l *life) goesOn(t *testing.T) {
	p, base, out := l.program, l.base, l.out
	t.Run("Vagrant takes the boxes", func(t *testing.T) { vagrantTakes(t, out) })
	t.Run("one damaged byte is refused", func(t *testing.T) { damaged(t, p, out) })
	t.Run("the same bytes from scratch elsewhere", func(t *testing.T) { again(t, p, base, out) })
	t.Run("what differs is named", func(t *testing.T) { differs(t, p, base, out) })
	t.Run("an image is the source of another", func(t *testing.T) { fromImage(t, p, base, out) })
	t.Run("AMIs in three regions", func(t *testing.T) { amis(t, p, base) })
	t.Run("mistakes", func(t *testing.T) { mistakes(t, p) })
	t.Run("fewer rights", func(t *testing.T) { rights(t, p) })
	t.Run("memory does not grow with the disk", func(t *testing.T) { memory(t, p, base) })
	t.Run("killed at every stage", func(t *testing.T) { killed(t, p, base) })
}

func vagrantTakes(t *testing.T, out string) {
	testkit.Tool(t, "vagrant")
	home := t.TempDir()
	vagrant := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "vagrant", args...)
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "VAGRANT_HOME="+home, "VAGRANT_CHECKPOINT_DISABLE=1")
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("vagrant %v: %v\n%s", args, err, text)
		}
		return string(text)
	}
	for _, platform := range []string{"virtualbox", "vmware", "libvirt"} {
		vagrant("box", "add", "--name", "golden", filepath.Join(out, "golden-1.2.3-"+platform+"-amd64.box"))
	}
	list := vagrant("box", "list")
	for _, provider := range []string{"virtualbox", "vmware_desktop", "libvirt"} {
		if !strings.Contains(list, "("+provider+",") {
			t.Errorf("vagrant box list does not show %s:\n%s", provider, list)
		}
	}
}

func damaged(t *testing.T, p *program, out string) {
	for _, name := range []string{"golden-1.2.3-libvirt-amd64.box", "golden-1.2.3-vmware-amd64.box", "golden-1.2.3-virtualbox-amd64.ova"} {
		copied := filepath.Join(t.TempDir(), name)
		if text, err := exec.Command("cp", filepath.Join(out, name), copied).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		flipBit(t, copied)
		p.run(t, out, "test", copied).fails(t, 2, name)
	}
}

// flipBit damages one bit, a third into the file.
func flipBit(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var one [1]byte
	if _, err := f.ReadAt(one[:], info.Size()/3); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := f.WriteAt(one[:], info.Size()/3); err != nil {
		t.Fatal(err)
	}
}

// again builds without any checkpoint, from another folder, under another
// umask and with the clock of every tool that the build calls set forward.
func again(t *testing.T, p *program, base, out string) {
	golden := checkout(t, filepath.Join(base, "elsewhere"))
	second := filepath.Join(base, "out two")
	clock := filepath.Join(t.TempDir(), "ld.so.preload")
	library, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(library) == 0 {
		t.Fatalf("libfaketime is not installed: %v", err)
	}
	for file, text := range map[string]string{clock: library[0] + "\n", clock + ".rc": "+9h\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// There must be something to mount over.
	for _, file := range []string{"/etc/ld.so.preload", "/etc/faketimerc"} {
		if f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o644); err == nil {
			_ = f.Close()
			t.Cleanup(func() { _ = os.Remove(file) })
		}
	}
	wrapper := []string{"unshare", "--mount", "sh", "-euc", `
mount --bind "$1" /etc/ld.so.preload; mount --bind "$1.rc" /etc/faketimerc
umask 077; shift; exec "$@"`, "sh", clock}
	finish(t, p.command(t, golden, wrapper, "build", "--output", second, "--version", "1.2.3", "--no-cache", "--until", "pack")).ok(t)
	names, err := filepath.Glob(filepath.Join(out, "golden-*"))
	if err != nil || len(names) != 7 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range append(names, filepath.Join(out, "plan.json"), filepath.Join(out, "SHA256SUMS")) {
		if text, err := exec.Command("cmp", name, filepath.Join(second, filepath.Base(name))).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, text)
		}
	}
	if t.Failed() {
		t.Log(p.run(t, base, "diff", manifestOf(t, out), manifestOf(t, second)).stdout)
	}
}

func manifestOf(t *testing.T, out string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(out, "*.manifest.json.zst"))
	if err != nil || len(names) != 1 {
		t.Fatalf("manifests in %s: %v, %v", out, names, err)
	}
	return names[0]
}

// differs changes the last step: everything before it comes from the cache,
// and the difference is named.
func differs(t *testing.T, p *program, base, out string) {
	golden := checkout(t, filepath.Join(base, "changed"))
	replace(t, filepath.Join(golden, "imagebuild.yml"), `LANG=C.UTF-8`, `LANG=C`)
	changed := filepath.Join(base, "out changed")
	p.run(t, golden, "build", "--output", changed, "--version", "1.2.3", "--until", "pack").ok(t)
	steps := readResult(t, changed).Trees[0].Steps
	for i, step := range steps {
		if step.Cached != (i < len(steps)-1) {
			t.Errorf("step %q: cached is %v", step.Name, step.Cached)
		}
	}
	r := readResult(t, changed)
	t.Logf("warm rebuild after a changed last step: %.1f s: %v", r.Seconds, r.Stages)
	o := p.run(t, base, "diff", manifestOf(t, out), manifestOf(t, changed)).ok(t)
	// The file, and the two that name the file systems by identifiers that the
	// plan decides.
	var paths []string
	for line := range strings.Lines(o.stdout) {
		path, _, _ := strings.Cut(line, ":")
		paths = append(paths, path)
	}
	if want := []string{"path boot/grub/grub.cfg", "path etc/default/locale", "path etc/fstab"}; !slices.Equal(paths, want) {
		t.Errorf("diff says:\n%s", o.stdout)
	}
}

// memory builds for a small and a large disk. GNU time starts the program: a
// process inherits the largest size of the one that started it, and this one
// is no part of what is measured (exec_mmap of the kernel's fs/exec.c).
func memory(t *testing.T, p *program, base string) {
	testkit.Tool(t, "time")
	peak := filepath.Join(t.TempDir(), "peak")
	for _, size := range testkit.Depth(nil, []string{"40GiB"}, []string{"4GiB", "40GiB"}) {
		golden := checkout(t, filepath.Join(base, "disk "+size))
		replace(t, filepath.Join(golden, "imagebuild.yml"), "disk: {size: 8GiB}", "disk: {size: "+size+"}")
		out := filepath.Join(base, "out "+size)
		finish(t, p.command(t, golden, []string{"time", "--output", peak, "--format", "%M"},
			"build", "--output", out, "--until", "pack")).ok(t)
		text, err := os.ReadFile(peak)
		if err != nil {
			t.Fatal(err)
		}
		kibibytes, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s disk: at most %d MiB resident in any one process", size, kibibytes>>10)
		if kibibytes > 512<<10 {
			t.Errorf("%s disk: %d MiB of memory, want less than 512", size, kibibytes>>10)
		}
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
}

// leftovers lists what a build could have left behind: files in its folders,
// processes that name them, mounts and loop devices.
func leftovers(t *testing.T, dirs ...string) []string {
	t.Helper()
	var found []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it is going at this moment
			}
			name := entry.Name()
			if strings.HasSuffix(name, ".part") || strings.HasPrefix(name, ".work-") || strings.HasPrefix(name, "tree-") || strings.HasPrefix(name, "new-") || strings.HasPrefix(name, "bootstrap-") {
				found = append(found, path)
				if entry.IsDir() {
					return fs.SkipDir
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(mounts)) {
			if strings.Contains(line, strings.ReplaceAll(dir, " ", `\040`)) {
				found = append(found, "mount "+line)
			}
		}
		loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
		for _, loop := range loops {
			if backing, _ := os.ReadFile(loop); strings.HasPrefix(string(backing), dir) {
				found = append(found, "loop device of "+string(backing))
			}
		}
		found = append(found, processes(dir)...)
	}
	return found
}

// processes lists those that have dir in their arguments, their root or their
// working folder.
func processes(dir string) []string {
	var found []string
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		if entry == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		argv, _ := os.ReadFile(entry + "/cmdline")
		root, _ := os.Readlink(entry + "/root")
		cwd, _ := os.Readlink(entry + "/cwd")
		if bytes.Contains(argv, []byte(dir)) || strings.HasPrefix(root, dir) || strings.HasPrefix(cwd, dir) {
			found = append(found, "process "+strings.ReplaceAll(string(argv), "\x00", " "))
		}
	}
	return found
}
