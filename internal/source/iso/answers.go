package iso

import (
	"strings"

	"github.com/org/imagebuild-action/internal/guestweb"
)

// kind is a kind of answers: what the installer calls the file, and by which
// parameters it finds it.
type kind struct {
	name  string
	file  string // as the installer wants it called
	also  string // another file that must be there, empty
	label string // of the disc that the installer looks for; empty: the file goes into the initrd
	// common, disk and http are kernel parameters: for both ways, and for one.
	common, disk, http string
	alone              string // and for HTTP where nothing else is on the network
	overHTTP           bool
	// restarts says that the installer starts again on its way, and powers off
	// at last.
	restarts bool
	// powerOff is how the file asks for it.
	powerOff string
}

// The kinds, and where their names and parameters come from.
var (
	// Debian GNU/Linux Installation Guide, appendix B: initrd preseeding, and
	// auto mode. The text frontend makes questions lines instead of drawings,
	// and on a dumb terminal they are not hidden in windows of screen(1).
	// Without a network, DHCP says neither name servers nor a router, which the
	// installer would ask for.
	preseed = &kind{
		name: "preseed", file: "preseed.cfg",
		common: "auto=true priority=critical DEBIAN_FRONTEND=text TERM=dumb", http: "url=" + guestweb.URL("preseed.cfg"), overHTTP: true,
		alone:    "netcfg/get_nameservers=10.0.2.3 netcfg/no_default_route=true",
		powerOff: "d-i debian-installer/exit/poweroff boolean true",
	}
	// Anaconda boot options: inst.ks, and automatic detection of OEMDRV.
	// In command line mode a question ends the installation.
	kickstart = &kind{
		name: "kickstart", file: "ks.cfg", label: "OEMDRV",
		common: "inst.cmdline", disk: "inst.ks=hd:LABEL=OEMDRV:/ks.cfg", http: "ip=dhcp inst.ks=" + guestweb.URL("ks.cfg"), overHTTP: true,
		powerOff: "poweroff",
	}
	// cloud-init, NoCloud; subiquity asks before it writes to a disk unless
	// the kernel's parameters say autoinstall.
	autoinstall = &kind{
		name: "autoinstall", file: "user-data", also: "meta-data", label: "CIDATA",
		common: "autoinstall", http: "ip=dhcp ds=nocloud-net;s=" + guestweb.URL(""), overHTTP: true,
		powerOff: "shutdown: poweroff in the section autoinstall",
	}
	// Windows Setup looks into the roots of removable media ("Implicit Answer
	// File Search Order").
	autounattend = &kind{
		name: "autounattend", file: "autounattend.xml", label: "UNATTEND", restarts: true,
		powerOff: "a last command: shutdown /s",
	}
)

// answers is a kind with the file that the template names.
type answers struct {
	kind *kind
	file string
}

// given lists what is named; a valid configuration has one at the most.
func (u *Unattended) given() []answers {
	var all []answers
	for _, a := range []answers{{preseed, u.Preseed}, {kickstart, u.Kickstart}, {autoinstall, u.Autoinstall}, {autounattend, u.Autounattend}} {
		if a.file != "" {
			all = append(all, a)
		}
	}
	return all
}

// files are the files that the installer reads.
func (k *kind) files(content []byte) map[string][]byte {
	files := map[string][]byte{k.file: content}
	if k.also != "" {
		files[k.also] = nil
	}
	return files
}

// parameters is the kernel's command line: the console, what the kind needs,
// where the disc is, and last the template's own, which win.
func (c *Config) parameters(k *kind, label string) string {
	all := []string{"console=ttyS0,115200"}
	if k != nil {
		all = append(all, k.common)
		if c.Via == viaHTTP {
			all = append(all, k.http)
			if !c.Network {
				all = append(all, k.alone)
			}
		} else {
			all = append(all, k.disk)
		}
	}
	if k == kickstart && label != "" && !strings.Contains(c.Append, "inst.stage2=") && !strings.Contains(c.Append, "inst.repo=") {
		// Without a boot menu nobody tells Anaconda where its second stage is.
		all = append(all, "inst.stage2=hd:LABEL="+strings.ReplaceAll(label, " ", `\x20`))
	}
	all = append(all, c.Append)
	return strings.Join(strings.Fields(strings.Join(all, " ")), " ")
}
