package container_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/container"
	"github.com/org/imagebuild-action/internal/dockertest"
)

// device stands in for /dev/kvm, which test machines need not have.
const device = "/dev/loop-control"

// template is small, and its last step wants what only mounts give.
const template = `name: small
source:
  bootstrap:
    distribution: debian
    release: trixie
    packages: [linux-image-amd64]
guest_tools: false
provision:
  - shell: |
      id -u
      [ -e /proc/self/exe ] && echo has proc || echo has no proc
platforms: {libvirt: {formats: [qcow2]}}
`

// outer starts testdata/outer as an action.
type outer struct {
	job   *dockertest.Job
	image string
}

func (o outer) step(args ...string) dockertest.Step {
	return dockertest.Step{
		Image: o.image, Entrypoint: "/github/workspace/outer", Args: args, Inputs: map[string]string{"secret": "a 'b' \"c\" $d"},
		Env: map[string]string{"RUN_ID": "run-1", "DEVICE": device},
	}
}

func newOuter(t *testing.T, docker *dockertest.Docker, image string) outer {
	t.Helper()
	o := outer{docker.NewJob(t), image}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(o.job.Workspace, "outer"), "./testdata/outer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return o
}

func TestDocker(t *testing.T) {
	docker := dockertest.Start(t)
	image := docker.BuildImage(t)
	t.Run("image", func(t *testing.T) { testImage(t, docker, image) })
	t.Run("granted", func(t *testing.T) { granted(t, docker, newOuter(t, docker, image)) })
	t.Run("the host lacks the device", func(t *testing.T) { lacksDevice(t, docker, newOuter(t, docker, image)) })
	t.Run("signals", func(t *testing.T) { signals(t, docker, newOuter(t, docker, image)) })
	t.Run("killed", func(t *testing.T) { killedParent(t, docker, newOuter(t, docker, image)) })
	t.Run("a build", func(t *testing.T) { builds(t, docker, newOuter(t, docker, image)) })
	if left := docker.Containers(t, ""); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if left := docker.Output(t, "volume", "ls", "--quiet"); left != "" {
		t.Errorf("volumes left: %s", left)
	}
}

func testImage(t *testing.T, docker *dockertest.Docker, image string) {
	if out := docker.Output(t, "run", "--rm", "--network", "none", image, "version"); !strings.HasPrefix(out, "imagebuild 0.0.0-test ") {
		t.Errorf("version says %q", out)
	}
	script := `set -e
for link in imagebuild-action imagebuild-action-post; do [ "$(readlink /usr/local/bin/$link)" = imagebuild ]; done
mke2fs -V 2>&1 | head -n1; qemu-system-x86_64 --version | head -n1
find /usr /etc /var -xdev -newermt @1700000001 -path '*imagebuild*'
ls /var/lib/apt/lists; find /var/log /var/cache -type f`
	out := docker.Output(t, "run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", image, "-c", script)
	if lines := strings.Split(out, "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "mke2fs 1.4") || !strings.HasPrefix(lines[1], "QEMU emulator") {
		t.Errorf("got:\n%s", out)
	}
	t.Logf("%s bytes; %s", docker.Output(t, "image", "inspect", "--format", "{{.Size}}", image), out)
}

func readGrant(t *testing.T, stdout string) container.Grant {
	t.Helper()
	line, _, _ := strings.Cut(stdout, "\n")
	var g container.Grant
	if err := json.Unmarshal([]byte(line), &g); err != nil {
		t.Fatalf("%v in %q", err, stdout)
	}
	return g
}

func granted(t *testing.T, _ *dockertest.Docker, o outer) {
	for _, network := range []string{"host", "none"} {
		step := o.step("report")
		step.Network = network
		r := o.job.Run(t, step)
		if r.Code != 5 || r.Stderr != "on stderr\n" {
			t.Fatalf("code %d, stderr %q", r.Code, r.Stderr)
		}
		g := readGrant(t, r.Stdout)
		if !g.KVM || !g.Mounts {
			t.Errorf("granted %+v", g)
		}
		for _, want := range []string{"device opened\n", "mount: <nil>\n", "secret: a 'b' \"c\" $d\n", "written: <nil>\n"} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("network %s: no %q in\n%s", network, want, r.Stdout)
			}
		}
		if err := os.Remove(filepath.Join(o.job.Workspace, "from-sibling")); err != nil {
			t.Error(err)
		}
	}
}

func lacksDevice(t *testing.T, _ *dockertest.Docker, o outer) {
	step := o.step("report")
	step.Env["DEVICE"] = "/dev/not-there"
	r := o.job.Run(t, step)
	if r.Code != 5 || r.Stderr != "on stderr\n" {
		t.Fatalf("code %d, stderr %q", r.Code, r.Stderr)
	}
	g := readGrant(t, r.Stdout)
	if g.KVM || !g.Mounts || !strings.Contains(g.KVMReason, "no such file or directory") || !strings.Contains(r.Stdout, "mount: <nil>\n") {
		t.Errorf("granted %+v", g)
	}
	t.Log(g.KVMReason, "|", g.MountsReason)
}

// signals cancels as a runner does.
func signals(t *testing.T, docker *dockertest.Docker, o outer) {
	for _, tc := range []struct {
		mode  string
		codes []int // 137 if Docker is quick enough to tell how it died
		limit time.Duration
	}{{"wait", []int{130}, 4 * time.Second}, {"stubborn", []int{130, 137}, 9500 * time.Millisecond}} {
		running := o.job.Start(t, o.step(tc.mode))
		running.Stdout.Await(t, "ready", time.Minute)
		if n := len(docker.Containers(t, "")); n != 2 {
			t.Errorf("%s: %d containers, want two", tc.mode, n)
		}
		took := running.Cancel()
		r := running.Wait(t)
		if !slices.Contains(tc.codes, r.Code) || took > tc.limit {
			t.Errorf("%s: code %d after %s: %s", tc.mode, r.Code, took, r.Stderr)
		}
		if tc.mode == "wait" && !strings.HasSuffix(r.Stdout, "stopping\n") {
			t.Errorf("its last words are lost: %q", r.Stdout)
		}
		if left := docker.Containers(t, ""); len(left) > 0 {
			t.Errorf("%s: left %v", tc.mode, left)
		}
		t.Logf("%s: gone after %s", tc.mode, took.Round(time.Millisecond))
	}
}

// killedParent leaves a sibling alone: one that is tethered goes by itself, the
// other is swept.
func killedParent(t *testing.T, docker *dockertest.Docker, o outer) {
	for _, mode := range []string{"wait", "stubborn"} {
		running := o.job.Start(t, o.step(mode))
		running.Stdout.Await(t, "ready", time.Minute)
		docker.Output(t, "kill", "--signal", "KILL", running.Name)
		if r := running.Wait(t); r.Code != 137 {
			t.Errorf("code %d: %s", r.Code, r.Stderr)
		}
		label := container.RunLabel + "=run-1"
		if mode == "wait" {
			dockertest.Eventually(t, 10*time.Second, func() bool { return len(docker.Containers(t, label)) == 0 }, func() string { return "the tethered sibling lives on" })
			continue
		}
		if n := len(docker.Containers(t, label)); n != 1 {
			t.Errorf("%d siblings, want one", n)
		}
		if r := o.job.Run(t, o.step("sweep")); r.Stdout != "1 <nil>\n" {
			t.Errorf("sweep says %q, %q", r.Stdout, r.Stderr)
		}
		if left := docker.Containers(t, ""); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
}

// builds makes an image where mounts are not allowed, and again where they are.
func builds(t *testing.T, _ *dockertest.Docker, o outer) {
	if err := os.WriteFile(filepath.Join(o.job.Workspace, "imagebuild.yml"), []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	plain := dockertest.Step{Image: o.image, Args: []string{"build", "--until", "pack"}}
	r := o.job.Run(t, plain)
	if r.Code != 0 || !strings.Contains(r.Stderr, "| has no proc\n") || !strings.Contains(r.Stderr, "add the capability SYS_ADMIN") {
		t.Fatalf("code %d:\n%s", r.Code, r.Stderr[max(0, len(r.Stderr)-4000):])
	}
	if files, _ := filepath.Glob(filepath.Join(o.job.Workspace, "out", "*.qcow2")); len(files) != 1 {
		t.Errorf("made %v", files)
	}
	t.Logf("without mounts: %.0f s", time.Since(begun).Seconds())
	begun = time.Now()
	// Another step over the same source, which the cache has by now.
	again := strings.Replace(template, "id -u", "id -un", 1)
	if err := os.WriteFile(filepath.Join(o.job.Workspace, "imagebuild.yml"), []byte(again), 0o600); err != nil {
		t.Fatal(err)
	}
	r = o.job.Run(t, o.step("/usr/local/bin/imagebuild", "build", "--until", "provision"))
	if r.Code != 0 || !strings.Contains(r.Stderr, "| has proc\n") || strings.Contains(r.Stderr, "SYS_ADMIN") {
		t.Fatalf("code %d:\n%s", r.Code, r.Stderr[max(0, len(r.Stderr)-4000):])
	}
	t.Logf("with mounts: %.0f s", time.Since(begun).Seconds())
}
