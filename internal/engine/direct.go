package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/tree"
)

// direct is the guest's own kernel, taken out of its disk. Started by QEMU
// itself it saves the firmware and the boot loader, which read tens of
// megabytes through the BIOS: a third of an emulated boot.
type direct struct {
	kernel, initrd string // files
	append         string
	partition      int // of the root; negative is one that the kernel's arguments do not name

	unpacked, short bool // what ease has done: to the kernel, and to the initramfs
}

// eased says what is not as the guest's own boot would have it.
func (d *direct) eased() string {
	switch {
	case d.unpacked && d.short:
		return ", with its kernel unpacked and its initramfs cut down to this machine"
	case d.unpacked:
		return ", with its kernel unpacked"
	case d.short:
		return ", with its initramfs cut down to this machine"
	}
	return ""
}

// directArgs follow the kernel's own arguments. A line on the serial console
// costs a thousand exits from the guest; what is wrong is still shown. Nobody
// but the build's own steps runs in this machine, so the processor needs no
// protection of one program from another, and the second host key of a machine
// that will never be another's takes half a minute of an emulated processor.
const directArgs = "loglevel=4 systemd.show_status=auto mitigations=off systemd.mask=imagebuild-ssh-rsa-key.timer"

const grubConfig = "boot/grub/grub.cfg"

var (
	linuxLine  = regexp.MustCompile(`(?m)^\s*linux\s+(/boot/[^\s$"'\\]+)\s+([^\n$"'\\]*\broot=[^\n$"'\\]*)$`)
	initrdLine = regexp.MustCompile(`(?m)^\s*initrd\s+(/boot/[^\s$"'\\]+)\s*$`)
)

// readDirect takes what the boot loader would start out of the disk, into dir.
// It returns nil where the boot loader's configuration is none that it
// understands: the disk has to be booted as it is.
func readDirect(ctx context.Context, chain *Chain, dir string) (d *direct, err error) {
	// In the last layer a guest may stand in the middle of a write.
	disk, err := chain.openAt(chain.Layers() - 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	root, err := extract.Root(ctx, disk)
	if err != nil {
		return nil, err
	}
	config, err := tree.ReadFile(ctx, root, grubConfig)
	if err != nil {
		return nil, err
	}
	kernel, args, initrd, ok := firstEntry(string(config))
	if !ok {
		return nil, nil
	}
	d = &direct{kernel: filepath.Join(dir, "kernel"), initrd: filepath.Join(dir, "initrd"), append: args + " " + directArgs}
	if d.partition, err = extract.Partition(disk, argument(args, "root")); err != nil {
		d.partition = -1
	}
	wanted := map[string]string{kernel: d.kernel, initrd: d.initrd}
	err = root.Walk(ctx, func(entry *image.Entry, content io.Reader) error {
		to, ok := wanted[entry.Path]
		if !ok || entry.Type != image.File {
			return nil
		}
		if err := writeFile(to, content); err != nil {
			return err
		}
		if delete(wanted, entry.Path); len(wanted) == 0 {
			return errAll
		}
		return nil
	})
	switch {
	case errors.Is(err, errAll):
		return d, nil
	case err == nil:
		return nil, nil // links, or files of another disk
	}
	return nil, fmt.Errorf("read the guest's kernel: %w", err)
}

var errAll = errors.New("all is found")

// firstEntry reads what GRUB starts if nobody chooses: the kernel and its
// initramfs as paths in the tree, and the kernel's arguments.
func firstEntry(config string) (kernel, args, initrd string, ok bool) {
	linux, ramdisk := linuxLine.FindStringSubmatchIndex(config), initrdLine.FindStringSubmatchIndex(config)
	if linux == nil || ramdisk == nil || ramdisk[0] < linux[0] {
		return "", "", "", false
	}
	text := func(match []int, n int) string { return strings.TrimSpace(config[match[2*n]:match[2*n+1]]) }
	return strings.TrimPrefix(text(linux, 1), "/"), text(linux, 2), strings.TrimPrefix(text(ramdisk, 1), "/"), true
}

// argument is the value of a kernel's argument; the last one counts.
func argument(args, name string) (value string) {
	for _, each := range strings.Fields(args) {
		if text, ok := strings.CutPrefix(each, name+"="); ok {
			value = text
		}
	}
	return value
}

func writeFile(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return run.Explain(err)
	}
	_, err = io.Copy(f, content)
	return run.Explain(errors.Join(err, f.Close()))
}
