package iso

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fetch"
	"github.com/org/imagebuild-action/internal/format/initramfs"
	"github.com/org/imagebuild-action/internal/format/iso9660"
	"github.com/org/imagebuild-action/internal/guestweb"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

// maxAnswers bounds the file with the answers: it is kept in memory.
const maxAnswers = 4 << 20

// prepared is a machine that is ready to start, and what belongs to it.
type prepared struct {
	config   vm.Config
	kind     *kind // nil without answers
	web      *guestweb.Server
	pictures []image.Image // of the keys; nil where the screen has to settle
}

// prepare makes what the machine boots and reads, in dir. It starts the web
// server, which the caller closes.
func (s *Source) prepare(ctx context.Context, dir, disk string, note func(guestweb.Read), task report.Task) (_ *prepared, err error) {
	c := &s.config
	p := &prepared{config: vm.Config{
		Hardware: target.Hardware{CPUs: c.CPUs, Memory: c.Memory, Controller: target.VirtioBlk, NIC: target.VirtioNet},
		Disks:    []vm.Disk{{Path: disk, Format: "raw"}},
		Accel:    s.request.Accel, Restrict: !c.Network, Dir: dir, SerialLog: filepath.Join(dir, "serial.log"),
	}}
	var disc *iso9660.Disc
	if c.hasDisc() {
		name, err := fetch.Get(ctx, c.Request(s.request.TemplateDir, s.request.CacheDir), task)
		if err != nil {
			return nil, err
		}
		var file *os.File
		if disc, file, err = openDisc(name); err != nil {
			return nil, err
		}
		defer file.Close()
		p.config.Disks = append(p.config.Disks, vm.Disk{Path: name, Format: "raw", CDROM: true})
	}
	inInitrd, err := s.answer(ctx, p, dir, note)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && p.web != nil {
			err = errors.Join(err, p.web.Close())
		}
	}()
	if c.direct() {
		if err := s.bootFiles(ctx, p, disc, dir, inInitrd, task); err != nil {
			return nil, err
		}
	}
	// Windows has drivers of its own for these; every Linux has them for both.
	if p.kind == autounattend {
		p.config.Hardware.Controller, p.config.Hardware.NIC = target.AHCI, target.E1000E
	}
	p.config.NoReboot = p.kind == nil || !p.kind.restarts
	for i, k := range c.Keys {
		var picture image.Image
		if k.Picture != "" {
			if picture, err = vm.ReadPicture(s.abs(k.Picture)); err != nil {
				return nil, fmt.Errorf("keys[%d].picture: %w", i, err)
			}
		}
		p.pictures = append(p.pictures, picture)
	}
	return p, nil
}

// answer lays out the answers where the installer looks for them. What it
// returns goes into the initrd.
func (s *Source) answer(ctx context.Context, p *prepared, dir string, note func(guestweb.Read)) (inInitrd map[string][]byte, err error) {
	given := s.config.Unattended.given()
	if len(given) == 0 {
		return nil, nil
	}
	p.kind = given[0].kind
	content, err := s.readAnswers(given[0].file)
	if err != nil {
		return nil, err
	}
	files := p.kind.files(content)
	switch {
	case s.config.Via == viaHTTP:
		if p.web, err = guestweb.Start(files, note); err != nil {
			return nil, err
		}
		p.config.Services = []vm.Service{{Address: guestweb.Address, Port: guestweb.Port, Command: p.web.Command()}}
	case p.kind.label == "":
		return files, nil
	default:
		disc, err := volume(ctx, dir, p.kind.label, files)
		if err != nil {
			return nil, err
		}
		p.config.Disks = append(p.config.Disks, vm.Disk{Path: disc, Format: "raw", CDROM: true})
	}
	return nil, nil
}

func (s *Source) readAnswers(name string) ([]byte, error) {
	info, err := os.Stat(s.abs(name))
	if err == nil && info.Size() > maxAnswers {
		err = fmt.Errorf("%s: %d bytes of answers; %d is the most", name, info.Size(), int64(maxAnswers))
	}
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	content, err := os.ReadFile(s.abs(name))
	return content, fault.Wrap(fault.Input, err)
}

// bootFiles takes the kernel and the initrd out of the disc, or from the
// template, and puts more files into the initrd.
func (s *Source) bootFiles(ctx context.Context, p *prepared, disc *iso9660.Disc, dir string, more map[string][]byte, task report.Task) error {
	kernel, initrd, label := s.config.Kernel, s.config.Initrd, ""
	if disc != nil {
		label = disc.VolumeID()
	}
	if kernel == "" {
		var err error
		if kernel, initrd, err = locate(disc); err != nil {
			return err
		}
		kernel, initrd = onDisc+kernel, onDisc+initrd
		task.Note("the disc is %q; starting its %s with %s", label, kernel[len(onDisc):], initrd[len(onDisc):])
	}
	p.config.Kernel, p.config.Initrd = filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	p.config.Append = s.config.parameters(p.kind, label)
	if err := s.writeBootFile(ctx, disc, kernel, p.config.Kernel, nil); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	if err := s.writeBootFile(ctx, disc, initrd, p.config.Initrd, more); err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	return nil
}

// writeBootFile copies a boot file, and appends an archive: the kernel unpacks
// one after the other, wherever four-byte alignment lets the next one start.
func (s *Source) writeBootFile(ctx context.Context, disc *iso9660.Disc, from, to string, more map[string][]byte) error {
	f, err := os.Create(to)
	if err != nil {
		return run.Explain(err)
	}
	defer f.Close()
	if err := s.bootFile(ctx, disc, from, f); err != nil {
		return err
	}
	if len(more) > 0 {
		info, err := f.Stat()
		if err != nil {
			return run.Explain(err)
		}
		const alignment = 4
		padding := make([]byte, (alignment-info.Size()%alignment)%alignment)
		if _, err := f.Write(append(padding, initramfs.Archive(more, 0o644)...)); err != nil {
			return run.Explain(err)
		}
	}
	return run.Explain(f.Close())
}
