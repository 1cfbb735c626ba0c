package emit

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/gpt"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/tree"
)

const (
	platformBIOS = "i386-pc"
	platformUEFI = "x86_64-efi"
	mkimagePath  = "usr/bin/grub-mkimage"
)

// coreModules are what GRUB needs to reach its configuration and to say so on
// a screen and a serial line. Everything else it loads from /boot/grub.
var coreModules = []string{
	"part_gpt", "ext2", "search_fs_uuid", "search", "normal", "configfile", "linux", "gzio", "echo",
	"serial", "terminal", "terminfo", "minicmd", "boot", "test", "true", "sleep", "ls", "cat", "halt", "reboot",
}

type loaders struct{ boot, core, efi []byte }

// earlyConfig finds the root by its UUID, whatever disk the firmware calls it,
// so that one configuration serves both firmwares. GRUB goes on to its normal
// mode by itself, and that reads $prefix/grub.cfg.
func earlyConfig(rootUUID string) string {
	return "search.fs_uuid " + rootUUID + " root\nset prefix=($root)/boot/grub\n"
}

// loaders links GRUB's images from the tree's modules, with the tree's own
// grub-mkimage, run through the tree's own loader: modules and linker belong
// together, and the host needs no GRUB.
func (f *found) loaders(ctx context.Context, r Request, work string) (loaders, error) {
	var l loaders
	mkimage, err := f.mkimage(ctx, r, work)
	if err != nil {
		return l, err
	}
	early := filepath.Join(work, "early.cfg")
	if err := os.WriteFile(early, []byte(earlyConfig(r.Identity.RootUUID())), 0o644); err != nil {
		return l, run.Explain(err)
	}
	for _, platform := range r.platforms() {
		modules := filepath.Join(work, "grub", platform)
		if _, err := os.Stat(filepath.Join(modules, "moddep.lst")); err != nil {
			return l, missing("/"+path.Join(grubDir, platform), map[string]string{platformBIOS: "grub-pc-bin", platformUEFI: "grub-efi-amd64-bin"}[platform])
		}
		out := filepath.Join(work, platform+".img")
		argv := append(append([]string(nil), mkimage...), "-O", platform, "-d", modules, "-p", "/boot/grub", "-c", early, "-o", out)
		if platform == platformBIOS {
			argv = append(argv, "biosdisk")
		} else {
			argv = append(argv, "fat")
		}
		if err := run.Run(ctx, run.Spec{Argv: append(argv, coreModules...), Group: true}); err != nil {
			return l, fmt.Errorf("link GRUB for %s: %w", platform, err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			return l, run.Explain(err)
		}
		if platform == platformUEFI {
			l.efi = data
			continue
		}
		l.core = data
		if l.boot, err = os.ReadFile(filepath.Join(modules, "boot.img")); err != nil {
			return l, run.Explain(err)
		}
	}
	return l, nil
}

func missing(what, pkg string) error {
	return fault.Errorf(fault.Input, "the image has no %s and cannot boot; add %s to the packages that it is made of", what, pkg)
}

// part is a file of the tree and the name that the loader knows it by.
type part struct{ path, name string }

// mkimage copies grub-mkimage and the libraries that it needs out of the tree
// and returns the command that runs it.
func (f *found) mkimage(ctx context.Context, r Request, work string) ([]string, error) {
	lib := filepath.Join(work, "lib")
	program, err := f.resolve(mkimagePath)
	if err != nil || !f.files[program] {
		return nil, missing("/"+mkimagePath, "grub-common")
	}
	var loader string
	seen := map[string]bool{}
	for queue := []part{{program, path.Base(mkimagePath)}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		data, err := tree.ReadFile(ctx, r.Tree, at.path)
		if err != nil {
			return nil, fmt.Errorf("read /%s: %w", at.path, err)
		}
		needed, interpreter, err := dependencies(data)
		if err != nil {
			return nil, fault.Errorf(fault.Input, "the image's /%s cannot be run: %w", at.path, err)
		}
		if interpreter != "" && loader == "" {
			loader, needed = path.Base(interpreter), append(needed, interpreter)
		}
		if err := store(filepath.Join(lib, at.name), bytes.NewReader(data), 0o755); err != nil {
			return nil, err
		}
		for _, want := range needed {
			name := path.Base(want)
			if seen[name] {
				continue
			}
			seen[name] = true
			file, ok := f.library(want)
			if !ok {
				return nil, fault.Errorf(fault.Input, "the image's /%s needs %s, which is not in the image", at.path, want)
			}
			queue = append(queue, part{file, name})
		}
	}
	return []string{filepath.Join(lib, loader), "--library-path", lib, filepath.Join(lib, path.Base(mkimagePath))}, nil
}

// library finds a library by its name in the folders that Debian and its
// derivatives have, or a file by its absolute path.
func (f *found) library(name string) (file string, ok bool) {
	candidates := []string{name}
	if !path.IsAbs(name) {
		candidates = nil
		for _, dir := range []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"} {
			candidates = append(candidates, path.Join(dir, name))
		}
	}
	for _, candidate := range candidates {
		if file, err := f.resolve(candidate); err == nil && f.files[file] {
			return file, true
		}
	}
	return "", false
}

// dependencies reads the names of a program's libraries and of its loader.
func dependencies(data []byte) (needed []string, interpreter string, err error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, "", err
	}
	if needed, err = f.ImportedLibraries(); err != nil {
		return nil, "", err
	}
	if s := f.Section(".interp"); s != nil {
		text, err := s.Data()
		if err != nil {
			return nil, "", err
		}
		interpreter = strings.TrimRight(string(text), "\x00")
	}
	return needed, interpreter, nil
}

// biosImages patches core.img and boot.img as grub-install would, for a core
// image in one piece at the start of the BIOS boot partition (GRUB 2.06,
// boot.S and diskboot.S).
func biosImages(coreImage, bootImage []byte, firstLBA, partitionBytes int64) (core, boot []byte, err error) {
	const (
		blockListAt = 0x1f4 // the first sector's last block list entry
		loadSegment = 0x820
		kernelLBAAt = 0x5c
		bootDriveAt = 0x64
		driveTestAt = 0x66
	)
	core = append([]byte(nil), coreImage...)
	core = append(core, make([]byte, -len(core)&(gpt.SectorSize-1))...)
	sectors := len(core) / gpt.SectorSize
	if sectors < 2 || int64(len(core)) > partitionBytes {
		return nil, nil, fmt.Errorf("GRUB's core image of %d bytes does not fit into a BIOS boot partition of %d", len(core), partitionBytes)
	}
	if len(bootImage) < gpt.BootCodeBytes {
		return nil, nil, errors.New("GRUB's boot.img is too short")
	}
	le := binary.LittleEndian
	le.PutUint64(core[blockListAt:], uint64(firstLBA+1))
	le.PutUint16(core[blockListAt+8:], uint16(sectors-1))
	le.PutUint16(core[blockListAt+10:], loadSegment)
	boot = append([]byte(nil), bootImage[:gpt.BootCodeBytes]...)
	le.PutUint64(boot[kernelLBAAt:], uint64(firstLBA))
	boot[bootDriveAt] = 0xff                     // the drive that the firmware booted from
	copy(boot[driveTestAt:], []byte{0x90, 0x90}) // and trust its number
	return core, boot, nil
}
