package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/vm"
)

func TestEnviron(t *testing.T) {
	got := environ(time.Unix(1700000000, 0), []string{
		"PATH=/host/bin", "TMPDIR=/host/tmp", "HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC", "DEBIAN_FRONTEND=noninteractive",
		"http_proxy=http://localhost:3128/", "HTTPS_PROXY=http://[::1]:3128", "https_proxy=http://proxy.example:8080", "no_proxy=localhost",
	})
	want := []string{
		"SOURCE_DATE_EPOCH=1700000000", "TZ=UTC", "DEBIAN_FRONTEND=noninteractive",
		"http_proxy=http://10.0.2.2:3128/", "HTTPS_PROXY=http://10.0.2.2:3128", "https_proxy=http://proxy.example:8080", "no_proxy=localhost",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// newChain is a chain on a disk with some noise in it.
func newChain(t *testing.T) (*Chain, *testkit.Disk) {
	t.Helper()
	testkit.Tool(t, "qemu-img")
	disk := testkit.NewDisk(4 << 20)
	disk.Put(1<<20, testkit.Noise(1, 70<<10))
	chain := NewChain(t.TempDir())
	if err := os.Rename(testkit.RawFile(t, disk), chain.Base()); err != nil {
		t.Fatal(err)
	}
	return chain, disk
}

func TestChain(t *testing.T) {
	chain, base := newChain(t)
	for n := range 3 {
		path, err := chain.Grow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if path != chain.Layer(n+1) || chain.Layers() != n+1 {
			t.Fatalf("layer %d of %d is %s", n+1, chain.Layers(), path)
		}
	}
	// The folder can move: nothing in it knows where it was.
	moved := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(filepath.Dir(chain.Base()), moved); err != nil {
		t.Fatal(err)
	}
	again := NewChain(moved)
	for range 3 {
		again.Add()
	}
	disk, err := again.Open()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Same(t, base, disk)
	if err := disk.Close(); err != nil {
		t.Error(err)
	}
	if err := again.Forget(1); err != nil || again.Layers() != 1 {
		t.Errorf("%d layers, %v", again.Layers(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(moved, "layer-*")); len(left) != 1 {
		t.Errorf("left %q", left)
	}
}

func TestChainIsDamaged(t *testing.T) {
	chain, _ := newChain(t)
	path, err := chain.Grow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Open(); fault.KindOf(err) != fault.Input {
		t.Errorf("a layer of 100 bytes: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no layer: %v", err)
	}
}

// TestNobodyAnswers boots a disk with nothing on it: the wait ends, and so does
// the machine.
func TestNobodyAnswers(t *testing.T) {
	testkit.Tool(t, vm.Binary)
	for name, test := range map[string]struct {
		timeout, cancel time.Duration
		want            string
	}{
		"time is up": {100 * time.Millisecond, time.Hour, "could not be entered within 100ms"},
		"cancelled":  {time.Hour, 100 * time.Millisecond, "context deadline exceeded"},
		"stuck":      {time.Hour, time.Hour, "No bootable device"},
	} {
		t.Run(name, func(t *testing.T) {
			chain, _ := newChain(t)
			dir := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), test.cancel)
			defer cancel()
			_, err := Boot(ctx, Config{Chain: chain, Dir: dir, Accel: vm.TCG, Epoch: time.Unix(1, 0), BootTimeout: test.timeout}, report.Discard.Begin(""))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v", err)
			}
			if ctx.Err() == nil && (fault.KindOf(err) != fault.Guest || !strings.Contains(err.Error(), "the machine was: qemu-system-x86_64")) {
				t.Errorf("%v: %v", fault.KindOf(err), err)
			}
			left, _ := filepath.Glob(filepath.Join(dir, "*"))
			if len(left) != 1 || filepath.Base(left[0]) != "serial.log" {
				t.Errorf("left %q", left)
			}
		})
	}
}

func TestResumeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":       "",
		"no header":     strings.Repeat("x", 8<<10) + "\n",
		"no JSON":       "hello\n",
		"other machine": `{"uuid":"x","hardware":{"cpus":7}}` + "\n",
		"no key":        `{"uuid":"x","hardware":{"cpus":2,"memory":1073741824,"firmware":"bios","controller":"virtio-blk","nic":"virtio-net"}}` + "\n",
	} {
		chain, _ := newChain(t)
		_, err := Resume(t.Context(), Config{Chain: chain, Dir: t.TempDir(), Accel: vm.TCG}, strings.NewReader(text), report.Discard.Begin(""))
		if err == nil {
			t.Errorf("%s: resumed", name)
		}
		if (name == "other machine") != errors.Is(err, ErrOtherMachine) {
			t.Errorf("%s: %v", name, err)
		}
		if chain.Layers() != 0 {
			t.Errorf("%s: %d layers", name, chain.Layers())
		}
	}
}
