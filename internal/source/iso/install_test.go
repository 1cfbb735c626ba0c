package iso

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

func TestInstalls(t *testing.T) {
	t.Parallel()
	task := newNotes()
	s := tiny(t, tinyKernel("Linux version 1\r\nfine", writeDisk, powerOff), nil)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := write(t, s, task); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"installing under tcg", "the installer's kernel has started", "Linux version 1", "the installer powered off after"} {
		if !strings.Contains(task.String(), want) {
			t.Errorf("it did not say %q:\n%s", want, task)
		}
	}
	if _, err := os.Stat(s.request.FailureDir); err == nil {
		t.Error("a failure bundle of no failure")
	}
}

// TestFromDisc takes the kernel out of a disc, in each well-known place.
func TestFromDisc(t *testing.T) {
	t.Parallel()
	s := tiny(t, tinyKernel("from the disc\r\n", writeDisk, powerOff), func(c *Config) {
		c.Kernel, c.Initrd, c.Path = "", "", "disc.iso"
		c.Unattended.Kickstart = "answers"
	})
	dir := s.request.TemplateDir
	tree := filepath.Join(dir, "tree/images/pxeboot")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"kernel": "vmlinuz", "initrd": "initrd.img"} {
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(tree, to)); err != nil {
			t.Fatal(err)
		}
	}
	argv := []string{testkit.Tool(t, "xorriso"), "-as", "mkisofs", "-quiet", "-R", "-V", "A B", "-o", filepath.Join(dir, "disc.iso"), filepath.Join(dir, "tree")}
	if err := run.Run(t.Context(), run.Spec{Argv: argv}); err != nil {
		t.Fatal(err)
	}
	task := newNotes()
	if _, err := write(t, s, task); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(task.String(), `the disc is "A B"; starting its images/pxeboot/vmlinuz`) {
		t.Error(task)
	}
	s.config.Kernel, s.config.Initrd = "iso:images/pxeboot/vmlinuz", "iso:images/pxeboot/no-such-file"
	if _, err := write(t, s, task); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "initrd: images/pxeboot/no-such-file on the disc") {
		t.Error(err)
	}
}

func TestKeysAreTyped(t *testing.T) {
	t.Parallel()
	testkit.Whole(t, "boots a disc")
	s := tiny(t, tinyKernel("boot: ", waitForKeys, writeDisk, powerOff), func(c *Config) {
		c.Keys = []Key{{Type: "Linux ks=", Timeout: time.Minute}, {Type: "x.", Timeout: time.Minute}}
	})
	task := newNotes()
	if _, err := write(t, s, task); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(task.String(), "Linux ks=x") { // the dot is not ended by a new line
		t.Error(task)
	}
}

// TestBootMenu starts a disc's own boot loader (El Torito, without emulation)
// and types into it.
func TestBootMenu(t *testing.T) {
	t.Parallel()
	testkit.Whole(t, "boots a disc")
	s := tiny(t, nil, func(c *Config) {
		c.Kernel, c.Initrd, c.Path, c.Via, c.Unattended.Preseed = "", "", "disc.iso", viaHTTP, "answers"
		c.Keys = []Key{{Type: "auto.", Timeout: time.Minute}}
	})
	dir := s.request.TemplateDir
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "boot.img"), tinyMenu("boot: "), 0o600); err != nil {
		t.Fatal(err)
	}
	argv := []string{testkit.Tool(t, "xorriso"), "-as", "mkisofs", "-quiet", "-R", "-b", "boot.img", "-no-emul-boot", "-boot-load-size", "4", "-o", filepath.Join(dir, "disc.iso"), tree}
	if err := run.Run(t.Context(), run.Spec{Argv: argv}); err != nil {
		t.Fatal(err)
	}
	task := newNotes()
	if _, err := write(t, s, task); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(task.String(), "auto.") {
		t.Error(task)
	}
}

// TestFailures are the ends that are none, each with its words and its bundle.
func TestFailures(t *testing.T) {
	if testing.Short() {
		t.Skip("starts QEMU")
	}
	for _, test := range []struct {
		name   string
		kernel []byte
		change func(*Config)
		want   []string
		screen bool
	}{
		{"panic", tinyKernel("[ 1.0] Kernel panic - not syncing: VFS\r\n", halt), nil, []string{"stuck", "Kernel panic - not syncing: VFS"}, true},
		{"question", tinyKernel("Pick one:\r\n  1: a  2: b\r\nPrompt: '?' for help> ", halt), nil, []string{"asks and waits (the Debian installer has no answer to a question)", "2: b"}, true},
		{"restart", tinyKernel("done\r\n", writeDisk, reset), func(c *Config) { c.Unattended.Preseed = "answers" }, []string{"restarted the machine", "exit/poweroff boolean true", "done"}, false},
		{"nothing written", tinyKernel("bye\r\n", powerOff), nil, []string{"without having written to the disk", "bye"}, false},
		{"time", tinyKernel("", chatter), func(c *Config) { c.Timeout = time.Second }, []string{"not finished after 1s", "raise timeout"}, true},
		{"answers not read", tinyKernel("", halt), func(c *Config) {
			c.Silence, c.Via, c.Unattended.Kickstart = time.Second, viaHTTP, "answers"
		}, []string{"no sign of life", "did not ask for its answers at http://10.0.2.100/ks.cfg"}, true},
		{"picture", tinyKernel("", halt), func(c *Config) {
			c.Keys = []Key{{Picture: "answers", Type: "x", Timeout: time.Minute}}
		}, []string{"keys[0].picture", "png: invalid format"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := tiny(t, test.kernel, test.change)
			_, err := write(t, s, newNotes())
			if err == nil {
				t.Fatal("no error")
			}
			if kind := fault.KindOf(err); kind != fault.Guest && test.name != "picture" {
				t.Errorf("kind %v", kind)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			_, err = os.Stat(filepath.Join(s.request.FailureDir, "screen.png"))
			if (err == nil) != test.screen {
				t.Errorf("the last screen: %v", err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"", "installing under", "first"} {
		ctx, cancel := context.WithCancel(t.Context())
		task := newNotes()
		task.on[at] = cancel
		if at == "" {
			cancel()
		}
		s := tiny(t, tinyKernel("first\r\n", chatter), nil)
		if _, err := writeCtx(ctx, t, s, task); !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled {
			t.Errorf("at %q: %v", at, err)
		}
		cancel()
	}
}
