package bootfiles

import (
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/tree"
)

var update = flag.Bool("update", false, "write the goldens anew")

// bootableTree is the least that Apply takes for bootable.
func bootableTree(t *testing.T) image.Tree {
	t.Helper()
	return tree.Overlay(tree.Dir(t.TempDir()), bootable()...)
}

func bootable() []tree.Change {
	return []tree.Change{
		tree.PutFile("boot/vmlinuz-6.1", 0o644, []byte("kernel")),
		tree.PutFile("boot/initrd.img-6.1", 0o644, []byte("initramfs")),
		tree.PutFile("usr/lib/grub/i386-pc/normal.mod", 0o644, []byte("normal")),
		tree.PutFile("usr/lib/grub/i386-pc/moddep.lst", 0o644, []byte("")),
		tree.PutFile("usr/lib/grub/i386-pc/kernel.img", 0o644, []byte("not copied")),
		tree.PutFile("usr/lib/grub/x86_64-efi/normal.mod", 0o644, []byte("normal")),
		tree.PutFile("usr/lib/systemd/systemd", 0o755, nil),
		tree.PutFile("usr/bin/ssh-keygen", 0o755, nil),
		tree.PutFile("etc/fstab", 0o644, []byte("# old\n/dev/sda1 / ext3 defaults 0 1\nserver:/home /home nfs defaults 0 0\n")),
		tree.PutFile("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n127.0.1.1 builder\n")),
		tree.PutFile("etc/resolv.conf", 0o644, []byte("nameserver 192.0.2.1\n")),
	}
}

func options() Options {
	return Options{
		RootUUID: "11111111-2222-4333-8444-555555555555", ESPVolumeID: "1234-ABCD", Hostname: "golden",
		BIOS: true, UEFI: true, Epoch: time.Unix(1700000000, 0).UTC(),
	}
}

// render shows a tree as text: every entry, and the content of the short ones.
func render(t *testing.T, tr image.Tree) string {
	t.Helper()
	var b strings.Builder
	err := tr.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
		fmt.Fprintf(&b, "%s %04o %s", e.Type, e.Mode, e.Path)
		if e.Link != "" {
			fmt.Fprintf(&b, " -> %s", e.Link)
		}
		b.WriteString("\n")
		if content == nil || strings.Contains(e.Path, "imagebuild") || strings.HasSuffix(e.Path, "grubenv") {
			return nil // our own files are not shown twice
		}
		data, err := io.ReadAll(content)
		for line := range strings.Lines(string(data)) {
			b.WriteString("\t" + strings.TrimSuffix(line, "\n") + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, got string) {
	t.Helper()
	name := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "-")+".golden")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), write it anew with -update:\n%s", name, diff)
	}
}

func TestApply(t *testing.T) {
	tests := []struct {
		name    string
		changes []tree.Change
		options func(*Options)
	}{
		{"plain", nil, nil},
		{"bios-only", nil, func(o *Options) { o.UEFI = false }},
		{"resolved", []tree.Change{tree.PutFile("usr/lib/systemd/system/systemd-resolved.service", 0o644, nil)}, nil},
		{"ifupdown", []tree.Change{tree.PutFile("etc/network/interfaces", 0o644, []byte("iface lo inet loopback\n iface eth0 inet dhcp\n"))}, nil},
		{"grub-defaults", []tree.Change{tree.PutFile("etc/default/grub", 0o644, []byte("GRUB_CMDLINE_LINUX=\"audit=1\"\nGRUB_CMDLINE_LINUX_DEFAULT='quiet'\n"))}, nil},
		{"two-kernels", []tree.Change{
			tree.PutFile("boot/vmlinuz-6.1.0-9-amd64", 0o644, nil), tree.PutFile("boot/initrd.img-6.1.0-9-amd64", 0o644, nil),
			tree.PutFile("boot/vmlinuz-6.1.0-10-amd64", 0o644, nil), tree.PutFile("boot/initrd.img-6.1.0-10-amd64", 0o644, nil),
			tree.PutFile("boot/vmlinuz-6.1.0-11-amd64", 0o644, nil),
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := options()
			if test.options != nil {
				test.options(&o)
			}
			got, err := Apply(t.Context(), tree.Overlay(bootableTree(t), test.changes...), o)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, render(t, got))
			again, err := Apply(t.Context(), got, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(render(t, got), render(t, again)); diff != "" {
				t.Errorf("applied to its own result it changes something:\n%s", diff)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	tests := []struct{ name, remove, want string }{
		{"no kernel", "boot/vmlinuz-6.1", "kernel"},
		{"no initramfs", "boot/initrd.img-6.1", "initramfs-tools"},
		{"no BIOS GRUB", "usr/lib/grub/i386-pc", "grub-pc-bin"},
		{"no UEFI GRUB", "usr/lib/grub/x86_64-efi", "grub-efi-amd64-bin"},
		{"no systemd", "usr/lib/systemd", "systemd-sysv"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Apply(t.Context(), tree.Overlay(bootableTree(t), tree.Remove(test.remove)), options())
			if err == nil || !strings.Contains(err.Error(), test.want) || fault.KindOf(err) != fault.Input {
				t.Errorf("error is %v (%s), want an input fault with %q", err, fault.KindOf(err), test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Apply(ctx, bootableTree(t), options()); err == nil {
		t.Error("a cancelled context is not noticed")
	}
}

func TestEveryEmbeddedFileIsUsed(t *testing.T) {
	with, err := Apply(t.Context(), bootableTree(t), options())
	if err != nil {
		t.Fatal(err)
	}
	listing := render(t, with)
	entries, err := fs.ReadDir(files, "files")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(file(e.Name())) == 0 || !strings.Contains(listing, "/"+e.Name()) {
			t.Errorf("%s is empty or not in the image", e.Name())
		}
	}
}

func TestCompareVersions(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"6.1.0-9-amd64", "6.1.0-10-amd64", -1},
		{"6.1.0-10-amd64", "6.1.0-10-amd64", 0},
		{"6.12", "6.2", 1},
		{"5.15.0-100-generic", "5.15.0-99-generic", 1},
		{"6.1", "6.1-rt", -1},
	}
	for _, test := range tests {
		if got := compareVersions(test.a, test.b); got != test.want {
			t.Errorf("compareVersions(%s, %s) is %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
