package extract

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

const fstabPath = "etc/fstab"

// fstabLine is one line of fstab(5).
type fstabLine struct {
	text       string // as it stands there
	spec       string
	mountPoint string
	at         string // mountPoint as a path in the tree; "." is the root
	fsType     string
	options    []string
}

// pseudo are types of file systems that are on no partition of this disk.
var pseudo = []string{ //nolint:gochecknoglobals // a constant list
	"tmpfs", "proc", "sysfs", "devpts", "devtmpfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "efivarfs", "configfs", "fusectl",
	"hugetlbfs", "mqueue", "bpf", "none", "overlay", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "vboxsf", "fuse", "iso9660", "udf", "ramfs", "ceph",
}

func parse(text string) []fstabLine {
	var all []fstabLine
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		l := fstabLine{text: strings.TrimRight(line, "\r\n"), spec: unescape(fields[0]), mountPoint: unescape(fields[1]), fsType: "auto"}
		if len(fields) > 2 {
			l.fsType = fields[2]
		}
		if len(fields) > 3 {
			l.options = strings.Split(fields[3], ",")
		}
		l.at = strings.TrimPrefix(path.Clean("/"+l.mountPoint), "/")
		if l.at == "" {
			l.at = "."
		}
		all = append(all, l)
	}
	return all
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// unescape reads the \040 that stands for a space.
func unescape(field string) string {
	return octal.ReplaceAllStringFunc(field, func(code string) string {
		n, err := strconv.ParseUint(code[1:], 8, 8)
		if err != nil {
			return code
		}
		return string([]byte{byte(n)})
	})
}

func (l *fstabLine) has(option string) bool { return slices.Contains(l.options, option) }

// isFirmware tells whether it is the EFI system partition's line.
func (l *fstabLine) isFirmware() bool { return l.at == "boot/efi" || l.at == "efi" }

func (l *fstabLine) isSwap() bool { return l.fsType == "swap" }

// obsolete tells whether the line is about something that the new disk has
// not: a swap partition, or the old boot partition of the firmware.
func (l *fstabLine) obsolete(v *volume) bool {
	return l.isFirmware() || l.isSwap() && (v != nil || strings.HasPrefix(l.spec, "/dev/") || strings.Contains(l.spec, "="))
}

// volume finds what the line mounts: nil for the root, and for what is no
// business of this disk's.
func (l *fstabLine) volume(volumes []*volume) (*volume, error) {
	if l.at == "." || l.isFirmware() || slices.Contains(pseudo, l.fsType) || strings.HasPrefix(l.fsType, "fuse.") || l.has("bind") || l.has("rbind") || l.has("loop") {
		return nil, nil //nolint:nilnil // nothing to mount is no error
	}
	for _, v := range volumes {
		if l.names(v) {
			return v, nil
		}
	}
	switch {
	case l.isSwap(), l.has("noauto"), l.has("nofail"), l.has("_netdev"):
		return nil, nil //nolint:nilnil // the system starts without it
	case !strings.HasPrefix(l.spec, "/dev/") && !strings.Contains(l.spec, "="):
		return nil, nil //nolint:nilnil // a server's, or a file's
	case isRemovable(l.spec):
		return nil, nil //nolint:nilnil // not of this disk
	}
	return nil, fault.Errorf(fault.Input, "%s is mounted from %s, which is no partition of this disk; %s", l.mountPoint, l.spec, remedy)
}

func isRemovable(spec string) bool {
	return strings.HasPrefix(spec, "/dev/sr") || strings.HasPrefix(spec, "/dev/cdrom") || strings.HasPrefix(spec, "/dev/fd") || strings.HasPrefix(spec, "/dev/dvd")
}

// device is a partition by its number, whatever the disk was called.
var device = regexp.MustCompile(`^/dev/(?:(?:sd|vd|hd|xvd)a|nvme0n1p|mmcblk0p)([0-9]+)$`)

// names tells whether the line means the volume (fstab(5), "the first field").
func (l *fstabLine) names(v *volume) bool {
	spec := strings.ReplaceAll(l.spec, `"`, "")
	key, value, _ := strings.Cut(spec, "=")
	for prefix, as := range map[string]string{"/dev/disk/by-uuid/": "UUID", "/dev/disk/by-label/": "LABEL", "/dev/disk/by-partuuid/": "PARTUUID", "/dev/disk/by-partlabel/": "PARTLABEL"} {
		if rest, ok := strings.CutPrefix(spec, prefix); ok {
			key, value = as, rest
		}
	}
	switch key {
	case "UUID":
		return v.uuid != "" && strings.EqualFold(v.uuid, value)
	case "LABEL":
		return v.label != "" && v.label == value
	case "PARTUUID":
		return v.partUUID != "" && strings.EqualFold(v.partUUID, value)
	case "PARTLABEL":
		return v.partLabel != "" && v.partLabel == value
	}
	m := device.FindStringSubmatch(spec)
	return m != nil && v.number > 0 && m[1] == strconv.Itoa(v.number)
}

// without is the table without some of its lines.
func without(text string, dropped []string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !slices.Contains(dropped, strings.TrimRight(line, "\r\n")) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
