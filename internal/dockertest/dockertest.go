// Package dockertest gives tests a Docker daemon of their own, the project's
// image built by it, and the command line with which GitHub's runner starts a
// container action. It is not shipped: only tests import it.
//
//	docker := dockertest.Start(t)
//	image := docker.BuildImage(t)
//	job := docker.NewJob(t)
//	result := job.Run(t.Context(), dockertest.Step{Image: image, Inputs: map[string]string{"platform": "libvirt"}})
//
// The daemon is Debian's docker.io. It is started even where another one runs,
// because base images get the names that the Dockerfile uses: no registry is
// asked, they are made by mmdebstrap and from the Go installation here. Images
// and layers are kept in the user's cache folder for the next test, containers
// and volumes are not. Containers have the host's network or none: the daemon sets up
// neither bridges nor packet filters.
//
// Start skips the test unless IMAGEBUILD_E2E=1.
package dockertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// stopLimit is how long a daemon may take to start or to end.
const stopLimit = time.Minute

// Docker is a running daemon.
type Docker struct {
	// Socket is the daemon's Unix socket.
	Socket string
	client string
}

// Start runs a daemon until the test ends. Tests of several processes take
// turns.
func Start(t testing.TB) *Docker {
	t.Helper()
	testkit.NotQuick(t, "runs containers")
	if os.Geteuid() != 0 {
		t.Skip("a Docker daemon needs root")
	}
	dockerd := testkit.Tool(t, "dockerd")
	d := &Docker{client: testkit.Tool(t, "docker")}
	data := dataDir(t)
	t.Cleanup(testkit.Turn(t))
	// A socket's path has room for 108 bytes, which t.TempDir may use up.
	state, err := os.MkdirTemp("", statePrefix(data))
	if err != nil {
		t.Fatal(err)
	}
	d.Socket = filepath.Join(state, "docker.sock")
	t.Cleanup(func() { cleanUp(t, data, state) })
	sweep(data, state)
	log, err := os.Create(filepath.Join(state, "log"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	daemon, err := run.Start(ctx, run.Spec{
		Argv: []string{
			dockerd, "--data-root", data, "--exec-root", filepath.Join(state, "exec"), "--pidfile", filepath.Join(state, "pid"),
			"--host", "unix://" + d.Socket, "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
		},
		Stdout: log, Stderr: log, Grace: stopLimit,
	})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.clear(t)
		stop()
		<-daemon.Done()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the daemon's log ends:\n%s", text[max(0, len(text)-4000):])
		}
	})
	d.await(t, daemon.Done())
	d.clear(t)
	return d
}

// await returns when the daemon answers.
func (d *Docker) await(t testing.TB, ended <-chan struct{}) {
	t.Helper()
	deadline := time.After(stopLimit)
	for {
		if run.Run(t.Context(), d.Spec("version")) == nil {
			return
		}
		select {
		case <-ended:
			t.Fatal("the Docker daemon ended at once; its log follows")
		case <-deadline:
			t.Fatalf("the Docker daemon does not answer after %s", stopLimit)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Spec is a call of the Docker client. The classic builder is asked for, which
// every version of Docker has.
func (d *Docker) Spec(args ...string) run.Spec {
	return run.Spec{
		Argv: append([]string{d.client}, args...),
		Env:  run.Environ("DOCKER_HOST=unix://"+d.Socket, "DOCKER_BUILDKIT=0"),
	}
}

// Output calls the client, which must succeed, and returns what it prints.
func (d *Docker) Output(t testing.TB, args ...string) string {
	t.Helper()
	out, err := run.Output(t.Context(), d.Spec(args...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// Containers lists the ids of all containers with the label, running or not; an
// empty label means all.
func (d *Docker) Containers(t testing.TB, label string) []string {
	t.Helper()
	args := []string{"ps", "--all", "--quiet", "--no-trunc"}
	if label != "" {
		args = append(args, "--filter", "label="+label)
	}
	return strings.Fields(d.Output(t, args...))
}

// clear removes containers and volumes, also after the test's end.
func (d *Docker) clear(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	ids, err := run.Output(ctx, d.Spec("ps", "--all", "--quiet"))
	if list := strings.Fields(ids); err == nil && len(list) > 0 {
		err = run.Run(ctx, d.Spec(append([]string{"rm", "--force", "--volumes"}, list...)...))
	}
	if err != nil {
		t.Logf("remove containers: %v", err)
	}
	names, err := run.Output(ctx, d.Spec("volume", "ls", "--quiet"))
	if list := strings.Fields(names); err == nil && len(list) > 0 {
		err = run.Run(ctx, d.Spec(append([]string{"volume", "rm", "--force"}, list...)...))
	}
	if err != nil {
		t.Logf("remove volumes: %v", err)
	}
}

// dataDir returns the daemon's folder, which this test has to itself until it
// ends.
func dataDir(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(cache, "imagebuild-test", "docker")
	if err := os.MkdirAll(data, 0o711); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(data+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() }) // which unlocks
	for tick := time.Tick(200 * time.Millisecond); ; {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return data
		}
		select {
		case <-tick:
		case <-t.Context().Done():
			t.Fatalf("another test holds %s: %v", lock.Name(), err)
		}
	}
}

// moduleRoot is where go.mod is.
func moduleRoot(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(fmt.Errorf("go list: %w", err))
	}
	return strings.TrimSpace(string(out))
}
