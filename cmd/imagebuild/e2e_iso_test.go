package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/testkit"
)

// installer makes an installer's disc of Debian's kernel, an installing
// initrd and the root file system that it carries, and lets imagebuild run it
// without a person: by a kickstart file on a disc of its own, and by a preseed
// file over HTTP. Both come to the same files, and what was packed of one is
// booted.
func installer(t *testing.T, p *program) {
	dir := t.TempDir()
	started := time.Now()
	installerDisc(t, filepath.Join(dir, "installer.iso"))
	t.Logf("the disc was made in %s", time.Since(started).Round(time.Second))
	if err := os.CopyFS(dir, os.DirFS("testdata/installer")); err != nil {
		t.Fatal(err)
	}
	template := filepath.Join(dir, "imagebuild.yml")
	build := func(name, kind, answers, via, until string, said ...string) result {
		replace(t, template, "KIND: ANSWERS", kind+": "+answers)
		defer replace(t, template, kind+": "+answers, "KIND: ANSWERS")
		out := filepath.Join(dir, "out-"+name)
		o := p.run(t, dir, "build", "--output", out, "--var", "via="+via, "--until", until).ok(t)
		for _, each := range said {
			if !strings.Contains(o.stderr, each) {
				t.Errorf("%s: it does not say %q:\n%s", name, each, last(o.stderr, 3000))
			}
		}
		r := readResult(t, out)
		t.Logf("%s: %.0f s: %v", name, r.Seconds, r.Stages)
		return r
	}
	booted := build("preseed", "preseed", "preseed.cfg", "http", "verify",
		"the installer reads http://10.0.2.100/preseed.cfg (GET, 200)", "answers read from /tmp/answers", "installation complete, by preseed", "the installer powered off")
	if len(booted.Verified) == 0 {
		t.Error("nothing was booted")
	}
	for _, v := range booted.Verified {
		if len(v.Tests) != 1 || v.Tests[0].Error != "" {
			t.Errorf("booted: %+v", v)
		}
	}
	second := build("kickstart", "kickstart", "ks.cfg", "disk", "pack",
		"answers read from /answers/ks.cfg", "installation complete, by kickstart", "the installer powered off")
	if len(booted.Trees) != 1 || len(second.Trees) != 1 {
		t.Fatalf("trees: %+v and %+v", booted.Trees, second.Trees)
	}
	// Another plan has other identifiers of its file systems. Nothing else
	// differs: not a byte, not a time.
	o := p.run(t, dir, "diff", "--json", filepath.Join(dir, "out-preseed", booted.Trees[0].Manifest), filepath.Join(dir, "out-kickstart", second.Trees[0].Manifest)).ok(t)
	var differences []struct{ Name string }
	if err := json.Unmarshal([]byte(o.stdout), &differences); err != nil {
		t.Fatal(err)
	}
	if len(differences) != 2 || differences[0].Name != "boot/grub/grub.cfg" || differences[1].Name != "etc/fstab" {
		t.Errorf("two ways to install one system came to two trees:\n%s", last(o.stdout, 3000))
	}
}

// installerDisc makes the disc.
func installerDisc(t *testing.T, to string) {
	t.Helper()
	dir := t.TempDir()
	disc := filepath.Join(dir, "disc")
	if err := os.MkdirAll(filepath.Join(disc, "install.amd"), 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(disc, "root.tar")
	command(t, testkit.Tool(t, "mmdebstrap"), "--quiet", "--variant=minbase", "--format=tar",
		"--include=linux-image-cloud-amd64,initramfs-tools,zstd,kmod,udev,systemd-sysv,dbus,grub-common,grub2-common,grub-pc-bin,grub-efi-amd64-bin,"+
			"e2fsprogs,fdisk,mount,util-linux,openssh-server,sudo,ifupdown,isc-dhcp-client",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"bookworm", root)
	kernel, modules := kernelOf(t, root)
	if err := os.WriteFile(filepath.Join(disc, "install.amd/vmlinuz"), kernel, 0o600); err != nil {
		t.Fatal(err)
	}
	initrd(t, filepath.Join(dir, "initrd"), modules)
	gz := exec.CommandContext(t.Context(), "sh", "-ec", `cd "$1" && find . | busybox cpio -o -H newc | gzip -1 >"$2"`, "sh", filepath.Join(dir, "initrd"), filepath.Join(disc, "install.amd/initrd.gz"))
	if out, err := gz.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	command(t, testkit.Tool(t, "xorriso"), "-as", "mkisofs", "-quiet", "-R", "-V", "INSTALLER", "-o", to, disc)
}

func command(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", argv[0], err, last(string(out), 3000))
	}
}

// wanted are the drivers and file systems that the installer needs.
var wanted = []string{"virtio_pci", "virtio_blk", "virtio_net", "ata_piix", "sr_mod", "isofs", "ext4", "crc32c_generic"}

// module is a kernel module's content.
type module struct {
	name    string
	content []byte
}

// kernelOf finds the kernel in an archive, and the modules in their order.
func kernelOf(t *testing.T, archive string) (kernel []byte, modules []module) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string][]byte{} // modules by the part of the path after the version
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean("/" + h.Name)
		_, inside, isModule := strings.Cut(strings.TrimPrefix(name, "/usr"), "/lib/modules/")
		_, inside, _ = strings.Cut(inside, "/")
		isKernel := strings.HasPrefix(name, "/boot/vmlinuz-")
		if h.Typeflag != tar.TypeReg || !isModule && !isKernel {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if isKernel {
			kernel = content
		} else {
			files[inside] = content
		}
	}
	if kernel == nil {
		t.Fatal("the archive has no kernel")
	}
	return kernel, order(t, files)
}

// order lists the wanted modules, each after those that it needs
// (modules.dep(5)).
func order(t *testing.T, files map[string][]byte) []module {
	t.Helper()
	needs := map[string][]string{}
	paths := map[string]string{}
	for line := range strings.Lines(string(files["modules.dep"])) {
		name, deps, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[name] = strings.Fields(deps)
		paths[strings.ReplaceAll(strings.TrimSuffix(path.Base(name), ".ko"), "-", "_")] = name
	}
	var all []module
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, each := range needs[name] {
			add(each)
		}
		all = append(all, module{path.Base(name), files[name]})
	}
	for _, name := range wanted {
		switch {
		case paths[name] != "":
			add(paths[name])
		case !bytes.Contains(bytes.ReplaceAll(files["modules.builtin"], []byte("-"), []byte("_")), []byte("/"+name+".ko")):
			t.Fatalf("the kernel has no %s", name)
		}
	}
	return all
}

// initrd lays out the installing initrd.
func initrd(t *testing.T, dir string, modules []module) {
	t.Helper()
	script, err := os.ReadFile("testdata/installer/init")
	if err != nil {
		t.Fatal(err)
	}
	files := []module{{"init", script}, {"bin/busybox", testkit.Busybox(t)}}
	var order strings.Builder
	for _, m := range modules {
		files = append(files, module{"modules/" + m.name, m.content})
		fmt.Fprintln(&order, m.name)
	}
	for _, f := range append(files, module{"modules/order", []byte(order.String())}) {
		name := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
