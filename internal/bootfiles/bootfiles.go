// Package bootfiles puts into a Tree what it needs to boot on any platform,
// and to be a new machine each time: GRUB's configuration and modules, fstab,
// a network by DHCP, growth of the root, SSH host keys and a machine-id made at
// first boot.
//
// It is a pure transformation: no mount, no command, the same tree in, the
// same tree out, the same for all platforms. What the user's own packages and
// files already settle is left alone: a network configuration, GRUB's
// defaults, other lines of fstab. The serial login needs no file: systemd
// starts one on every console that the kernel was given and the machine has.
//
//	booting, err := bootfiles.Apply(ctx, sealed, bootfiles.Options{
//		RootUUID: id.RootUUID(), ESPVolumeID: fat.FormatID(id.ESPVolumeID()),
//		Hostname: "golden", BIOS: true, UEFI: true, Epoch: epoch,
//	})
//
// It refuses trees without a kernel, an initramfs or GRUB.
package bootfiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/tree"
)

// Options are what the tree cannot know.
type Options struct {
	RootUUID    string    // of the root file system
	ESPVolumeID string    // of the EFI system partition, as "1234-ABCD"
	Hostname    string    // empty: the tree's own stays
	BIOS, UEFI  bool      // the firmware that the disk is made for
	Epoch       time.Time // of the new files; no time in the result is later
}

// Apply returns base with everything in it that booting needs.
func Apply(ctx context.Context, base image.Tree, o Options) (image.Tree, error) {
	s, err := look(ctx, base)
	if err != nil {
		return nil, err
	}
	if err := s.bootable(o); err != nil {
		return nil, err
	}
	grub, err := s.grub(ctx, base, o)
	if err != nil {
		return nil, err
	}
	changes := slices.Concat(grub, s.fstab(o), s.units(), s.network(), s.identity(o))
	return tree.Overlay(base, append(changes, tree.ClampTimes(o.Epoch))...), nil
}

// state is what one look at the tree tells.
type state struct {
	types   map[string]image.EntryType // of the paths that decisions depend on
	kernels []string                   // versions with a kernel and an initramfs, newest first
	modules []module                   // GRUB's
	owner   string                     // what configures the network already, or empty
}

// module is one of GRUB's files.
type module struct {
	platform, name string
	content        []byte
}

func (s *state) has(p string) bool { _, ok := s.types[p]; return ok }

func look(ctx context.Context, base image.Tree) (*state, error) {
	s := &state{types: map[string]image.EntryType{}}
	images := map[string]bool{}
	err := base.Walk(ctx, func(e *image.Entry, content io.Reader) error {
		dir, name := path.Split(e.Path)
		switch {
		case strings.HasPrefix(e.Path, grubLib+"/"):
			return s.keepModule(e, content)
		case dir == "boot/" && e.Type == image.File:
			images[name] = true
		}
		if worthKnowing(e.Path) {
			s.types[e.Path] = e.Type
		}
		return s.lookAtNetwork(e, content)
	})
	if err != nil {
		return nil, err
	}
	s.kernels = kernels(images)
	return s, nil
}

func worthKnowing(p string) bool {
	return strings.Count(p, "/") < 2 || strings.HasPrefix(p, "etc/") || strings.HasPrefix(p, "usr/") && strings.Contains(p, "systemd/system") ||
		strings.HasPrefix(p, "usr/lib/systemd/") || strings.HasPrefix(p, "lib/systemd/") ||
		strings.HasPrefix(p, "usr/sbin/") || strings.HasPrefix(p, "usr/bin/") || strings.HasPrefix(p, "var/lib/dbus")
}

func (s *state) bootable(o Options) error {
	lacks := func(what, pkg string) error {
		return fault.Errorf(fault.Input, "the image has no %s and cannot boot; add %s to the packages that it is made of", what, pkg)
	}
	if len(s.kernels) == 0 {
		return lacks("kernel with an initramfs in /boot", "a kernel (linux-image-amd64 or linux-image-generic) and initramfs-tools")
	}
	if o.BIOS && !s.hasModules(platformBIOS) {
		return lacks("/"+grubLib+"/"+platformBIOS, "grub-pc-bin")
	}
	if o.UEFI && !s.hasModules(platformUEFI) {
		return lacks("/"+grubLib+"/"+platformUEFI, "grub-efi-amd64-bin")
	}
	if !s.has("usr/lib/systemd/systemd") && !s.has("lib/systemd/systemd") {
		return lacks("systemd", "systemd-sysv")
	}
	return nil
}

// unitDir is where packages' units lie: /lib is a real directory in old trees.
func (s *state) unitDir() string {
	if s.has("lib/systemd/systemd") {
		return "lib/systemd/system"
	}
	return "usr/lib/systemd/system"
}

func optional(data []byte, err error) ([]byte, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the image's boot configuration: %w", err)
	}
	return data, nil
}
