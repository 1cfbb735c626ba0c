package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
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
	chain := NewChain(t.TempDir(), "base")
	if err := os.Rename(testkit.RawFile(t, disk), chain.Base()); err != nil {
		t.Fatal(err)
	}
	return chain, disk
}

func TestChain(t *testing.T) {
	chain, base := newChain(t)
	var saved [3]bytes.Buffer
	for n := range saved {
		path, err := chain.Grow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if path != chain.Layer(n+1) || chain.Layers() != n+1 {
			t.Fatalf("layer %d of %d is %s", n+1, chain.Layers(), path)
		}
		if err := chain.Saver(n + 1)(&saved[n]); err != nil {
			t.Fatal(err)
		}
	}
	other, _ := newChain(t)
	if err := other.Load(bytes.NewReader(saved[1].Bytes())); !errors.Is(err, ErrOtherDisk) || other.Layers() != 0 {
		t.Errorf("the second layer without the first: %v, %d layers", err, other.Layers())
	}
	for n := range saved {
		if err := other.Load(&saved[n]); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := other.Open()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Same(t, base, disk)
	if err := disk.Close(); err != nil {
		t.Error(err)
	}
	if err := other.Forget(1); err != nil || other.Layers() != 1 {
		t.Errorf("%d layers, %v", other.Layers(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(other.Base()), "layer-*")); len(left) != 1 {
		t.Errorf("left %q", left)
	}
	if err := other.Load(failingReader{strings.NewReader(`{"id":"x","below":"` + other.last() + `"}` + "\n")}); err == nil || other.Layers() != 1 {
		t.Errorf("a layer that cannot be read: %v, %d layers", err, other.Layers())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(other.Base()), "layer-*")); len(left) != 1 {
		t.Errorf("left %q", left)
	}
}

// failingReader fails where its text ends.
type failingReader struct{ io.Reader }

func (f failingReader) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil {
		err = errors.New("damaged")
	}
	return n, err
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
			for _, name := range left {
				if filepath.Base(name) != "serial.log" {
					t.Errorf("left %s", name)
				}
			}
		})
	}
}

func TestResumeRefuses(t *testing.T) {
	const hardware = `"hardware":{"cpus":2,"memory":"1GiB","firmware":"bios","controller":"virtio-blk","nic":"virtio-net"}`
	testkit.Tool(t, vm.Binary)
	emulator, err := Config{Accel: vm.TCG}.emulator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text string
		want error // nil: any
	}{
		"nothing":       {"", nil},
		"no header":     {strings.Repeat("x", 8<<10) + "\n", nil},
		"no JSON":       {"hello\n", nil},
		"other disk":    {`{"below":"other",` + hardware + "}\n", ErrOtherDisk},
		"other machine": {`{"below":"base","hardware":{"cpus":7}}` + "\n", ErrOtherMachine},
		"other QEMU":    {`{"below":"base","emulator":"QEMU 0.1",` + hardware + "}\n", ErrOtherMachine},
		"no key":        {`{"below":"base","emulator":"` + emulator + `",` + hardware + "}\n", ErrOtherMachine},
		"bad key":       {`{"below":"base","seed":"c2hvcnQ=","emulator":"` + emulator + `",` + hardware + "}\n", nil},
	} {
		chain, _ := newChain(t)
		_, err := Resume(t.Context(), Config{Chain: chain, Dir: t.TempDir(), Accel: vm.TCG}, strings.NewReader(test.text), report.Discard.Begin(""))
		switch {
		case err == nil:
			t.Errorf("%s: resumed", name)
		case test.want != nil && !errors.Is(err, test.want), test.want == nil && (errors.Is(err, ErrOtherDisk) || errors.Is(err, ErrOtherMachine)):
			t.Errorf("%s: %v", name, err)
		}
		if chain.Layers() != 0 {
			t.Errorf("%s: %d layers", name, chain.Layers())
		}
	}
}
