package bootfiles

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/tree"
)

const (
	platformBIOS = "i386-pc"
	platformUEFI = "x86_64-efi"
	grubLib      = "usr/lib/grub"

	// kernelOptions keep the old names of network cards, so that eth0 is the
	// first one everywhere, and put the console on screen and serial line. The
	// last console is where the boot's messages of systemd go. The kernel leaves
	// out its timer check by itself under the hypervisors that it knows; without
	// hardware virtualisation, on a busy host, the check fails and is a panic.
	kernelOptions = "net.ifnames=0 biosdevname=0 no_timer_check console=tty0 console=ttyS0,115200"

	defaultGrub    = "etc/default/grub"
	defaultGrubOur = "etc/default/grub.d/50-imagebuild.cfg"
)

// keepModule remembers what grub-install would copy to /boot/grub.
func (s *state) keepModule(e *image.Entry, content io.Reader) error {
	dir, name := path.Split(e.Path)
	platform := path.Base(dir)
	if e.Type != image.File || path.Join(grubLib, platform) != path.Clean(dir) || platform != platformBIOS && platform != platformUEFI {
		return nil
	}
	switch path.Ext(name) {
	case ".mod", ".lst", ".o":
	default:
		if name != "modinfo.sh" {
			return nil
		}
	}
	const limit = 4 << 20 // the largest is some 200 KB
	data, err := io.ReadAll(io.LimitReader(content, limit))
	if err != nil {
		return err
	}
	s.modules = append(s.modules, module{platform, name, data})
	return nil
}

func (s *state) hasModules(platform string) bool {
	return slices.ContainsFunc(s.modules, func(m module) bool { return m.platform == platform && m.name == "normal.mod" })
}

// kernels pairs kernels with their initramfs, newest version first.
func kernels(images map[string]bool) []string {
	var versions []string
	for name := range images {
		version, ok := strings.CutPrefix(name, "vmlinuz-")
		if ok && images["initrd.img-"+version] {
			versions = append(versions, version)
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return cmp.Or(compareVersions(b, a), cmp.Compare(b, a)) })
	return versions
}

// compareVersions compares runs of digits as numbers and all else as text.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, y := leadingDigits(a), leadingDigits(b)
		if x != "" && y != "" {
			m, n := strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); c != 0 {
				return c
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

// grub returns /boot/grub as grub-install and update-grub would leave it.
func (s *state) grub(ctx context.Context, base image.Tree, o Options) ([]tree.Change, error) {
	defaults, err := optional(tree.ReadFile(ctx, base, defaultGrub))
	if err != nil {
		return nil, err
	}
	extra := userOptions(string(defaults))
	changes := []tree.Change{
		tree.PutFile("boot/grub/grub.cfg", 0o600, []byte(grubConfig(s.kernels, o.RootUUID, extra))),
		tree.PutFile("boot/grub/grubenv", 0o644, environmentBlock()),
	}
	for _, m := range s.modules {
		if m.platform == platformBIOS && !o.BIOS || m.platform == platformUEFI && !o.UEFI {
			continue
		}
		changes = append(changes, tree.PutFile(path.Join("boot/grub", m.platform, m.name), 0o644, m.content))
	}
	name := defaultGrub
	if s.has(defaultGrub) && string(defaults) != grubDefaults {
		name = defaultGrubOur
	}
	return append(changes, tree.PutFile(name, 0o644, []byte(grubDefaults))), nil
}

// grubDefaults make update-grub in the running image write what is here.
const grubDefaults = `# Read by update-grub, which must run after a change.
GRUB_DEFAULT=0
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR=Linux
GRUB_DISABLE_OS_PROBER=true
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_CMDLINE_LINUX="` + kernelOptions + ` $GRUB_CMDLINE_LINUX"
`

// userOptions reads the kernel options that the image's own defaults ask for:
// plain assignments, the last one counts.
func userOptions(defaults string) string {
	values := map[string]string{}
	for line := range strings.SplitSeq(defaults, "\n") {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.TrimSpace(value)
		if !ok || strings.ContainsAny(value, "$`\\") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		values[name] = value
	}
	return strings.Join(strings.Fields(values["GRUB_CMDLINE_LINUX"]+" "+values["GRUB_CMDLINE_LINUX_DEFAULT"]), " ")
}

// grubConfig is complete in itself: GRUB's core image finds the root and reads
// it. A machine without a serial port goes on without one.
func grubConfig(versions []string, rootUUID, extra string) string {
	var b strings.Builder
	b.WriteString(`# Made with the image; update-grub writes it anew.
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set default=0
set timeout=1
search --no-floppy --fs-uuid --set=root ` + rootUUID + "\n")
	for _, version := range versions {
		for _, recovery := range []bool{false, true} {
			title, options := "Linux "+version, strings.TrimSpace(kernelOptions+" "+extra)
			if recovery {
				title, options = title+" (recovery)", "single "+options
			}
			fmt.Fprintf(&b, "menuentry '%s' {\n  linux /boot/vmlinuz-%s root=UUID=%s ro rootfstype=ext4 %s\n  initrd /boot/initrd.img-%s\n}\n",
				title, version, rootUUID, options, version)
		}
	}
	return b.String()
}

// environmentBlock is GRUB's empty store for variables: 1024 bytes, always.
func environmentBlock() []byte {
	const head = "# GRUB Environment Block\n"
	return []byte(head + strings.Repeat("#", 1024-len(head)))
}
