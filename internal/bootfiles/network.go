package bootfiles

import (
	"bufio"
	"io"
	"path"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/tree"
)

// lookAtNetwork notices a network configuration of the image's own.
func (s *state) lookAtNetwork(e *image.Entry, content io.Reader) error {
	dir, name := path.Split(e.Path)
	if e.Type != image.File && e.Type != image.Symlink {
		return nil
	}
	switch {
	case dir == "etc/netplan/" && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")):
		s.owner = "netplan"
	case e.Path == "usr/sbin/NetworkManager":
		s.owner = "NetworkManager"
	case e.Path == "usr/bin/cloud-init":
		s.owner = "cloud-init"
	case dir == "etc/systemd/network/" && strings.HasSuffix(name, ".network") && name != networkFile:
		s.owner = "systemd-networkd"
	case (e.Path == "etc/network/interfaces" || dir == "etc/network/interfaces.d/") && content != nil:
		configured, err := hasInterface(content)
		if configured {
			s.owner = "ifupdown"
		}
		return err
	}
	return nil
}

// hasInterface looks for a stanza other than the loopback's (interfaces(5)).
func hasInterface(r io.Reader) (found bool, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "iface" && fields[1] != "lo" {
			found = true
		}
	}
	return found, lines.Err()
}

const networkFile = "80-wired.network"

// network sets up DHCP on any wired card by systemd-networkd, and name servers
// by systemd-resolved where it is installed, unless the image has its own.
func (s *state) network() []tree.Change {
	if s.owner != "" {
		return nil
	}
	changes := []tree.Change{
		tree.PutFile("etc/systemd/network/"+networkFile, 0o644, file(networkFile)),
		s.enable("multi-user.target", "systemd-networkd.service"),
		s.enable("sockets.target", "systemd-networkd.socket"),
		s.enable("network-online.target", "systemd-networkd-wait-online.service"),
		tree.PutSymlink("etc/systemd/system/dbus-org.freedesktop.network1.service", "/"+s.unitDir()+"/systemd-networkd.service"),
	}
	if s.has(s.unitDir() + "/systemd-resolved.service") {
		return append(changes,
			s.enable("multi-user.target", "systemd-resolved.service"),
			tree.PutSymlink("etc/systemd/system/dbus-org.freedesktop.resolve1.service", "/"+s.unitDir()+"/systemd-resolved.service"),
			tree.PutSymlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
		)
	}
	changes = append(changes, tree.PutFile(helperDir+"/update-resolv", 0o755, file("update-resolv")))
	changes = append(changes, s.unit("imagebuild-resolv.service")...)
	changes = append(changes, s.unit("imagebuild-resolv.path")...)
	return append(changes, tree.PutSymlink("etc/resolv.conf", "../run/imagebuild/resolv.conf"))
}
