package bootfiles

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/tree"
)

//go:embed files
var files embed.FS

const helperDir = "usr/lib/imagebuild"

// file returns an embedded file; a test reads every one of them.
func file(name string) []byte {
	data, _ := files.ReadFile("files/" + name)
	return data
}

// units returns the units that are in every image.
func (s *state) units() []tree.Change {
	changes := []tree.Change{
		tree.PutFile(helperDir+"/grow-root", 0o755, file("grow-root")),
		// It looks for leftovers of e2scrub on LVM, which this disk has not, for
		// seconds of every boot.
		tree.Remove("etc/systemd/system/*.wants/e2scrub_reap.service"),
	}
	changes = append(changes, s.unit("imagebuild-grow-root.service")...)
	if s.has("usr/bin/ssh-keygen") {
		changes = append(changes, tree.PutFile(helperDir+"/ssh-keys", 0o755, file("ssh-keys")))
		changes = append(changes, s.unit("imagebuild-ssh-keys.service")...)
		changes = append(changes,
			tree.PutFile(path.Join(s.unitDir(), "imagebuild-ssh-rsa-key.service"), 0o644, file("imagebuild-ssh-rsa-key.service")),
			tree.PutFile(path.Join(s.unitDir(), "imagebuild-ssh-rsa-key.timer"), 0o644, file("imagebuild-ssh-rsa-key.timer")),
			s.enable("timers.target", "imagebuild-ssh-rsa-key.timer"))
	}
	return changes
}

// unit installs and enables one of our units.
func (s *state) unit(name string) []tree.Change {
	return []tree.Change{
		tree.PutFile(path.Join(s.unitDir(), name), 0o644, file(name)),
		s.enable("multi-user.target", name),
	}
}

// enable does what systemctl enable would.
func (s *state) enable(target, name string) tree.Change {
	return tree.PutSymlink("etc/systemd/system/"+target+".wants/"+name, "/"+path.Join(s.unitDir(), name))
}

// fstab keeps the user's other lines.
func (s *state) fstab(o Options) []tree.Change {
	edit := func(old []byte) ([]byte, error) { return []byte(fstab(string(old), o)), nil }
	var changes []tree.Change
	if s.has("etc/fstab") {
		changes = append(changes, tree.Edit("etc/fstab", edit))
	} else {
		changes = append(changes, tree.PutFile("etc/fstab", 0o644, []byte(fstab("", o))))
	}
	if o.UEFI {
		changes = append(changes, tree.PutDir("boot/efi", 0o700))
	}
	return changes
}

func fstab(old string, o Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# device mountpoint type options dump pass\nUUID=%s / ext4 errors=remount-ro 0 1\n", o.RootUUID)
	if o.UEFI {
		// Mounted when somebody looks at it: a missing one must not stop a boot.
		fmt.Fprintf(&b, "UUID=%s /boot/efi vfat umask=0077,nofail,noauto,x-systemd.automount,x-systemd.idle-timeout=1min 0 0\n", o.ESPVolumeID)
	}
	for line := range strings.Lines(old) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || fields[1] == "/" || fields[1] == "/boot/efi" {
			continue
		}
		b.WriteString(strings.TrimRight(line, "\r\n") + "\n")
	}
	return b.String()
}

// identity sets the host's name and makes the machine-id one that is made at
// first boot. An empty file is right, not "uninitialized": the latter makes
// systemd apply its presets, which would undo what the user's steps enabled
// and disabled (machine-id(5), first boot semantics).
func (s *state) identity(o Options) []tree.Change {
	changes := []tree.Change{tree.PutFile("etc/machine-id", 0o444, nil)}
	if t, ok := s.types["var/lib/dbus/machine-id"]; ok && t == image.File {
		changes = append(changes, tree.PutSymlink("var/lib/dbus/machine-id", "/etc/machine-id"))
	}
	if o.Hostname == "" {
		return changes
	}
	changes = append(changes, tree.PutFile("etc/hostname", 0o644, []byte(o.Hostname+"\n")))
	edit := func(old []byte) ([]byte, error) { return []byte(hosts(string(old), o.Hostname)), nil }
	if s.has("etc/hosts") {
		return append(changes, tree.Edit("etc/hosts", edit))
	}
	return append(changes, tree.PutFile("etc/hosts", 0o644, []byte(hosts("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n", o.Hostname))))
}

// hosts makes the name resolve without a name server, as Debian's installer
// does, and keeps all other lines.
func hosts(old, hostname string) string {
	var b strings.Builder
	for line := range strings.Lines(old) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "127.0.1.1" {
			continue
		}
		b.WriteString(strings.TrimRight(line, "\r\n") + "\n")
	}
	return b.String() + "127.0.1.1 " + hostname + "\n"
}
