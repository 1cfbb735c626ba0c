// Package artifact opens finished images, ours or anyone's: Vagrant boxes, OVAs
// and bare disks. It says what machine they describe, checks that they are
// whole, and takes the system disk out of them.
//
//	a, err := artifact.Open(ctx, "golden-1.0.0-vmware-amd64.ova")
//	fmt.Println(a.Kind, a.Provider, a.Hardware)
//	disk, err := a.Unpack(ctx, dir)
//
// It refuses what is damaged, naming the member; disks whose content lies in
// other files (backing files, flat and split extents); archives with members
// that leave their directory; boxes of providers that have no disk image.
package artifact

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/target"
)

// Artifact is an image that was found to be whole, as far as it can be known.
type Artifact struct {
	Path     string
	Kind     image.Kind
	Provider string          // of a box, or whom an OVA is for; empty for a bare disk
	Hardware target.Hardware // as described; what is not said has its target's default
	// Assumed are the parts of Hardware that the artifact says nothing of.
	Assumed []string
	// Checks are what the content was compared with. Empty: nothing in the
	// artifact says what its bytes should be.
	Checks []string

	member string // of the archive; empty for a bare disk
	bytes  int64  // of the disk's file
	format string // as described; empty when not said
}

// Disk is a disk taken out of an artifact.
type Disk struct {
	Path   string
	Format string // raw, qcow2, vmdk or vpc
	Owned  bool   // it is a copy; otherwise the artifact itself, never to be written to
}

// Open reads the whole artifact and checks it against everything that says
// what it should be. A damaged one is an Input fault that names the part.
func Open(ctx context.Context, path string) (*Artifact, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	a, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), classify(ctx, err))
	}
	return a, nil
}

// classify makes the input's fault of what nobody classified: whatever is
// wrong while a file is read is most likely wrong with the file.
func classify(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return fault.Wrap(fault.Input, err)
}

func open(ctx context.Context, path string) (*Artifact, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Errorf(fault.Input, "not a regular file; give a box, an OVA, or a disk image")
	}
	a := &Artifact{Path: path, bytes: info.Size()}
	listed, err := checkSums(ctx, path)
	if err != nil {
		return nil, err
	}
	if listed {
		a.Checks = append(a.Checks, sumsName)
	}
	found, err := detect(path)
	if err != nil {
		return nil, err
	}
	switch found {
	case raw.QCOW2:
		a.Kind, a.format = image.QCOW2, "qcow2"
	case raw.VMDK:
		a.Kind, a.format = image.VMDK, "vmdk"
	case raw.BootRecord:
		a.Kind, a.format = image.Raw, "raw"
	case raw.Tar, raw.Gzip, raw.XZ, raw.Zstd:
		box, err := isBox(ctx, path, found)
		if err != nil {
			return nil, err
		}
		if box {
			return a, a.openBox(ctx)
		}
		return a, a.openOVA(ctx)
	case raw.VMDKDescriptor:
		return nil, fault.Errorf(fault.Input, "this VMDK is only a description; its content is in other files; convert it to streamOptimized")
	default:
		return nil, fault.Errorf(fault.Input, "neither a box, an OVA, nor a bootable disk image in qcow2, VMDK or raw form")
	}
	a.assume(bareDefaults)
	return a, checkDisk(ctx, Disk{Path: path, Format: a.format}, true)
}

func detect(path string) (raw.Format, error) {
	f, err := os.Open(path)
	if err != nil {
		return raw.NoMagic, err
	}
	defer f.Close()
	header := make([]byte, raw.DetectBytes)
	n, err := io.ReadFull(f, header)
	if err != nil && n == 0 {
		return raw.NoMagic, fault.Errorf(fault.Input, "the file is empty")
	}
	return raw.Detect(header[:n]), nil
}

// isBox tells a box from an OVA. The names decide when they follow the custom;
// otherwise it is a box if it holds the member that every box must have.
func isBox(ctx context.Context, path string, form raw.Format) (bool, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); {
	case form != raw.Tar || ext == ".box":
		return true, nil
	case ext == ".ova":
		return false, nil
	}
	source, err := tarball.Open(path)
	if err != nil {
		return false, err
	}
	defer source.Close() //nolint:errcheck // opened for reading
	box := false
	err = source.Walk(ctx, func(member tarball.Member, _ io.Reader) error {
		box = box || member.Name == vagrantbox.MetadataName
		return nil
	})
	return box, err
}

// Describe returns, for a person, the commands that take the disk out by hand.
func (a *Artifact) Describe(disk Disk) string {
	if a.member == "" {
		return ""
	}
	return fmt.Sprintf("tar -xOf %s %s >%s", quote(a.Path), quote(a.member), filepath.Base(disk.Path))
}
