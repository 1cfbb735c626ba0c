package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/org/imagebuild-action/internal/fault"
)

var update = flag.Bool("update", false, "rewrite the goldens")

var quick = timing{call: time.Second, interrupt: 50 * time.Millisecond, terminate: 50 * time.Millisecond, kill: time.Second, remove: time.Second, sweep: 50 * time.Millisecond}

// outcome is one run against a fake.
type outcome struct {
	code           int
	err            error
	stdout, stderr bytes.Buffer
}

func (f *fakeDaemon) rerun(ctx context.Context) *outcome {
	o := &outcome{}
	request := &Request{
		RunID: "run-1", Environ: []string{"A=1", "HOSTNAME=" + selfID[:12]}, Socket: f.socket,
		Stdout: &o.stdout, Stderr: &o.stderr,
	}
	o.code, o.err = rerun(ctx, request, f.here, quick)
	return o
}

func TestRerun(t *testing.T) {
	f := newFake(t)
	f.program = func(c *fakeContainer) int {
		c.print(1, "one\n")
		c.print(2, "two\n")
		c.print(1, "no newline")
		return 4
	}
	o := f.rerun(t.Context())
	if o.code != 4 || o.err != nil || o.stdout.String() != "one\nno newline" || o.stderr.String() != "two\n" {
		t.Errorf("code %d, %v, stdout %q, stderr %q", o.code, o.err, &o.stdout, &o.stderr)
	}
	if f.left() != 0 || len(f.created) != 1 {
		t.Errorf("%d left of %d", f.left(), len(f.created))
	}
	g, sibling := Granted(f.created[0].Env)
	if !sibling || !g.KVM || !g.Mounts || g.KVMReason != "/dev/kvm was passed to a sibling container" {
		t.Errorf("granted %+v", g)
	}
	_, err := Rerun(t.Context(), Request{Environ: f.created[0].Env, Socket: f.socket})
	if !errors.As(err, new(*Refused)) || len(f.created) != 1 {
		t.Errorf("a sibling starts another: %v", err)
	}
}

// What the daemon does not grant is done without, and the reason is told.
func TestLadder(t *testing.T) {
	for _, tc := range []struct {
		name   string
		refuse func(container.HostConfig) string
		tries  int
		want   *Grant // nil: refused
		reason string
	}{
		{"no device", func(h container.HostConfig) string {
			if len(h.Devices) > 0 {
				return `error gathering device information while adding custom device "/dev/kvm": no such file or directory`
			}
			return ""
		}, 2, &Grant{Mounts: true}, "no such file or directory"},
		{"no capability", func(h container.HostConfig) string {
			if len(h.CapAdd) > 0 {
				return "authorization denied by plugin"
			}
			return ""
		}, 3, &Grant{KVM: true}, "denied by plugin"},
		{"neither", func(container.HostConfig) string { return "not today" }, 3, nil, "not today"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t)
			f.refuse = tc.refuse
			o := f.rerun(t.Context())
			if f.left() != 0 || len(f.created) != tc.tries {
				t.Errorf("%d left of %d", f.left(), len(f.created))
			}
			var r *Refused
			if tc.want == nil {
				if !errors.As(o.err, &r) || !strings.Contains(r.Grant.KVMReason, tc.reason) || fault.KindOf(o.err) != fault.Environment {
					t.Errorf("error %v", o.err)
				}
				return
			}
			g, _ := Granted(f.created[len(f.created)-1].Env)
			if o.err != nil || g.KVM != tc.want.KVM || g.Mounts != tc.want.Mounts || !strings.Contains(g.KVMReason+g.MountsReason, tc.reason) {
				t.Errorf("error %v, granted %+v", o.err, g)
			}
		})
	}
}

// Whatever fails at whichever call: nothing is left, and Refused is said only
// when nothing was run.
func TestEveryCallFails(t *testing.T) {
	for _, mode := range []faultMode{answer500, cutBefore, cutAfter} {
		for n := 1; ; n++ {
			f := newFake(t)
			f.failAt, f.mode = n, mode
			ran := make(chan struct{}, 10)
			f.program = func(*fakeContainer) int {
				ran <- struct{}{}
				return 7
			}
			o := f.rerun(t.Context())
			calls := f.log()
			if len(calls) < n {
				if n < 8 {
					t.Fatalf("%s: a run makes only %d calls", mode, n-1)
				}
				break
			}
			if f.left() != 0 {
				t.Errorf("%s %s (call %d): %d left", mode, calls[n-1], n, f.left())
			}
			wasRefused := errors.As(o.err, new(*Refused))
			if wasRefused && len(ran) > 0 || len(ran) > 1 {
				t.Errorf("%s %s (call %d): ran %d times, error %v", mode, calls[n-1], n, len(ran), o.err)
			}
			if o.err == nil && o.code != 7 {
				t.Errorf("%s %s (call %d): code %d without an error", mode, calls[n-1], n, o.code)
			}
			if o.err != nil && fault.KindOf(o.err) != fault.Environment {
				t.Errorf("%s %s (call %d): kind %s: %v", mode, calls[n-1], n, fault.KindOf(o.err), o.err)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	for _, tc := range []struct {
		name    string
		until   string // the signal that the sibling hears
		code    int
		signals []string
	}{
		{"at the first signal", "SIGINT", 130, []string{"SIGINT"}},
		{"at the second", "SIGTERM", 130, []string{"SIGINT", "SIGTERM"}},
		{"at none", "-", 137, []string{"SIGINT", "SIGTERM", "SIGKILL"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t)
			ctx, cancel := context.WithCancel(t.Context())
			var heard []string
			done := make(chan struct{})
			f.program = func(c *fakeContainer) int {
				defer close(done)
				cancel()
				for {
					select {
					case signal := <-c.signals:
						if heard = append(heard, signal); signal == tc.until {
							c.print(2, "cleaned up\n")
							return 130
						}
					case <-c.gone:
						for len(c.signals) > 0 {
							heard = append(heard, <-c.signals)
						}
						return 0
					}
				}
			}
			o := f.rerun(ctx)
			<-done
			if o.code != tc.code || f.left() != 0 || strings.Join(heard, " ") != strings.Join(tc.signals, " ") {
				t.Errorf("code %d, %d left, heard %v", o.code, f.left(), heard)
			}
			if killed := tc.code == 137; killed != (o.err != nil) || killed && fault.KindOf(o.err) != fault.Cancelled {
				t.Errorf("error %v", o.err)
			}
			if tc.code == 130 && o.stderr.String() != "cleaned up\n" {
				t.Errorf("its last words: %q", &o.stderr)
			}
		})
	}
	t.Run("before the start", func(t *testing.T) {
		f := newFake(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if o := f.rerun(ctx); !errors.Is(o.err, context.Canceled) || errors.As(o.err, new(*Refused)) || f.left() != 0 {
			t.Errorf("%v, %d left", o.err, f.left())
		}
	})
}

func TestNoDocker(t *testing.T) {
	dir := t.TempDir()
	file, dead := filepath.Join(dir, "file"), filepath.Join(dir, "dead")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	podman, stranger := newFake(t), newFake(t)
	podman.engine = "Podman Engine"
	stranger.here.hostname = "ffffffffffff"
	for socket, tc := range map[string]struct {
		here here
		want string
	}{
		filepath.Join(dir, "none"): {want: "no Docker socket"},
		file:                       {want: "not a socket"},
		dead:                       {want: "connect"},
		podman.socket:              {podman.here, "only Docker is known to work"},
		stranger.socket:            {here{root: dir, hostname: "ffffffffffff"}, "ffffffffffff is not known to it"},
	} {
		_, err := rerun(t.Context(), &Request{Socket: socket}, tc.here, quick)
		var r *Refused
		if !errors.As(err, &r) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(r.Grant.MountsReason, tc.want) {
			t.Errorf("%s: %v", socket, err)
		}
	}
	if n, err := Sweep(t.Context(), filepath.Join(dir, "none"), "x"); n != 0 || err != nil {
		t.Errorf("Sweep without a socket: %d, %v", n, err)
	}
	if _, err := Sweep(t.Context(), dead, "x"); fault.KindOf(err) != fault.Environment {
		t.Errorf("Sweep with a dead socket: %v", err)
	}
}

// Only a container that has our mounts and our root is ours.
func TestFindSelf(t *testing.T) {
	f := newFake(t)
	for _, tc := range []struct{ name, hostname, mountinfo, cgroup, want string }{
		{"by host name", selfID[:12], mountInfo, "", ""},
		{"by mounts", "myhost", mountInfo, "", ""},
		{"through a link", selfID[:12], strings.ReplaceAll(mountInfo, "/var/run/", "/run/"), "", ""},
		{"by control group", "myhost", strings.ReplaceAll(mountInfo, selfID, "x"), "5:cpu:/docker/" + selfID + "\n", ""},
		{"control group of systemd", "myhost", strings.ReplaceAll(mountInfo, selfID, "x"), "0::/system.slice/docker-" + selfID + ".scope\n", ""},
		{"another's root", selfID[:12], strings.ReplaceAll(mountInfo, "/o/up", "/o/other"), "", "another root"},
		{"another's mounts", selfID[:12], strings.ReplaceAll(mountInfo, "/github/workspace", "/x"), "", "has /github/workspace mounted"},
		{"no container", "myhost", "", "0::/\n", "is it one?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := here{root: t.TempDir(), hostname: tc.hostname}
			if err := os.MkdirAll(filepath.Join(h.root, "proc/self"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{"run", "var"} {
				if err := os.Mkdir(filepath.Join(h.root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.WriteFile(filepath.Join(h.root, "run/docker.sock"), nil, 0o600), os.Symlink("../run", filepath.Join(h.root, "var/run"))); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{"mountinfo": tc.mountinfo, "cgroup": tc.cgroup} {
				if err := os.WriteFile(filepath.Join(h.root, "proc/self", name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d, err := dial(t.Context(), f.socket, quick)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			self, err := findSelf(t.Context(), d, h)
			if tc.want == "" && (err != nil || self.ID != selfID || len(self.Command) != 2) || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%+v, %v", self, err)
			}
		})
	}
}

func TestSiblingOptions(t *testing.T) {
	self := &Self{
		ID: selfID, Image: "sha256:1111", Command: []string{"/usr/local/bin/imagebuild-action"},
		config: &container.Config{WorkingDir: "/github/workspace", Labels: map[string]string{"a1b2c3": ""}},
		host: &container.HostConfig{
			NetworkMode: "github_network_1", SecurityOpt: []string{"apparmor=docker-default", "seccomp=x"}, Privileged: true,
			Resources: container.Resources{Memory: 1 << 30, NanoCPUs: 2e9}, Binds: []string{"/a:/b"},
		},
	}
	for name, w := range map[string]wish{
		"all":      {devices: []string{KVM}, mounts: true},
		"apparmor": {devices: []string{KVM}, mounts: true, apparmor: true},
		"mounts":   {mounts: true},
		"kvm":      {devices: []string{KVM}, apparmor: true},
	} {
		t.Run(name, func(t *testing.T) {
			request := &Request{RunID: "42-1-build", Environ: []string{"A=1", "HOSTNAME=x"}}
			options := siblingOptions(self, request, "imagebuild-0123456789ab-1", w, Grant{KVM: true, KVMReason: "y"})
			got, err := json.MarshalIndent(container.CreateRequest{Config: options.Config, HostConfig: options.HostConfig}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || string(want) != string(got)+"\n" {
				t.Errorf("%v; got\n%s", err, got)
			}
		})
	}
}

func TestSweep(t *testing.T) {
	f := newFake(t)
	for _, run := range []string{"run-1", "run-1", "run-2"} {
		name := run + string(rune('a'+len(f.containers)))
		f.containers[name] = &fakeContainer{name: name, labels: map[string]string{RunLabel: run}, signals: make(chan string, 10), gone: make(chan struct{})}
	}
	if n, err := sweep(t.Context(), f.socket, "run-1", quick); n != 2 || err != nil || f.left() != 1 {
		t.Errorf("removed %d, %v; %d left", n, err, f.left())
	}
	if n, err := sweep(t.Context(), f.socket, "run-1", quick); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	if _, err := sweep(t.Context(), f.socket, "", quick); err == nil {
		t.Error("an empty run id is accepted")
	}
}

func TestTether(t *testing.T) {
	r, w := io.Pipe()
	ctx, cancel := Tether(t.Context(), r)
	defer cancel()
	if ctx.Err() != nil {
		t.Fatal("it ended at once")
	}
	_ = w.Close()
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), errParentGone) {
		t.Error(context.Cause(ctx))
	}
}

func TestGranted(t *testing.T) {
	if _, sibling := Granted([]string{"A=1"}); sibling {
		t.Error("no sibling takes itself for one")
	}
	if g, sibling := Granted([]string{grantVariable + "={"}); !sibling || g.KVM || g.KVMReason == "" {
		t.Errorf("%+v, %t", g, sibling)
	}
}
