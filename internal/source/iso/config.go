// Package iso installs a system from an installer's disc, in a machine and
// without a person: its answers come from a file, over a second disc or over
// HTTP on the machine's own network.
//
//	source:
//	  iso:
//	    url: https://images.example.org/installer.iso
//	    checksum: sha256:9f86...
//	    unattended: {preseed: preseed.cfg}
//
// The kernel and the initrd are taken out of the disc and started directly, so
// that nobody types into a boot menu; the installer is done when the machine
// powers off. What it says on the serial console is shown while it works.
//
// It refuses to guess: an installer that asks a question, that restarts in the
// place of powering off, that is silent for too long or powers off without
// having written a disk has failed, and the error says so with the last lines
// of its console. It installs x86-64 systems only. The answers are used as they
// are; nothing is put into them.
package iso

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fetch"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/vm"
)

// Config is what stands under source.iso.
type Config struct {
	fetch.Config
	Unattended Unattended    `yaml:"unattended" doc:"The installer's answers: one of preseed, kickstart, autoinstall and autounattend, with the file that holds them."`
	Via        string        `yaml:"via" enum:"disk,http" doc:"How the installer reads its answers: from a disc of its own (preseed: from the initrd), which is the default, or over HTTP from an address that only this machine reaches."`
	Kernel     string        `yaml:"kernel" doc:"The kernel to start: a file, or iso: and a path on the disc. Without it, it is looked for where Debian, Ubuntu, Fedora, SUSE and their kin have it."`
	Initrd     string        `yaml:"initrd" doc:"The initrd that belongs to kernel, written alike."`
	Append     string        `yaml:"append" doc:"Kernel parameters, after those that the answers need."`
	Keys       []Key         `yaml:"keys" doc:"What is typed, for installers with no other way. With keys and without kernel, the disc's own boot menu is started."`
	Network    bool          `yaml:"network" doc:"Let the installer reach the world, and through 10.0.2.2 this machine. Without it, it has the disc and its answers. What it downloads is not part of the plan."`
	Memory     size.Bytes    `yaml:"memory" doc:"Memory of the installing machine."`
	CPUs       int           `yaml:"cpus" min:"1" max:"64" doc:"Its processors."`
	Timeout    time.Duration `yaml:"timeout" digest:"-" doc:"The longest that the installation may take."`
	Silence    time.Duration `yaml:"silence" digest:"-" doc:"How long the installer may be without any sign of life: text, a change of the screen, a busy disk."`
	Canonical  bool          `yaml:"canonical" doc:"Take the files off the installed disk and make a new, reproducible one of them. False keeps the disk as the installer and the steps leave it, with all its partitions and whatever is on them; that takes engine: vm, and is not reproducible."`
}

// Unattended names the file with the answers, by its kind.
type Unattended struct {
	Preseed      string `yaml:"preseed" doc:"For the Debian installer."`
	Kickstart    string `yaml:"kickstart" doc:"For Anaconda: Fedora, RHEL, AlmaLinux, Rocky Linux."`
	Autoinstall  string `yaml:"autoinstall" doc:"For Ubuntu's server installer: cloud-init user data with an autoinstall section."`
	Autounattend string `yaml:"autounattend" doc:"For Windows Setup; from a disc only."`
}

// Key is one thing to type, and what to wait for before.
type Key struct {
	Picture string        `yaml:"picture" doc:"A PNG file that the screen must show, of its size; where it is transparent anything may be. Without it, the screen must have stopped changing."`
	Type    string        `yaml:"type" required:"true" doc:"What to type, on a US keyboard; other keys in angle brackets: <enter>, <esc>, <f6>, <ctrl-alt-f2>, and <lt> for the sign itself."`
	Timeout time.Duration `yaml:"timeout" digest:"-" doc:"The longest wait for the screen; 5m by default."`
}

// Defaults of what a configuration leaves open.
const (
	DefaultMemory     = 2 * size.GiB
	DefaultCPUs       = 2
	DefaultTimeout    = 2 * time.Hour
	DefaultSilence    = 15 * time.Minute
	defaultKeyTimeout = 5 * time.Minute
)

// New returns a configuration with its defaults.
func New() *Config {
	return &Config{Via: viaDisk, Memory: DefaultMemory, CPUs: DefaultCPUs, Timeout: DefaultTimeout, Silence: DefaultSilence, Canonical: true}
}

const (
	viaDisk = "disk"
	viaHTTP = "http"
	onDisc  = "iso:" // begins a path on the disc
)

var _ interface {
	template.Validator
	template.FileNamer
	template.DiskKeeper
} = (*Config)(nil)

// Validate implements template.Validator.
func (c *Config) Validate(faults template.Faults) {
	if c.hasDisc() || c.Checksum+c.Checksums+c.Keyring+c.Signature != "" || !c.bootsFiles() {
		c.ValidateFile(faults)
	}
	c.validateAnswers(faults)
	c.validateBoot(faults)
	for i := range c.Keys {
		k := &c.Keys[i]
		if k.Timeout == 0 {
			k.Timeout = defaultKeyTimeout
		}
		if _, err := vm.ParseKeys(k.Type); err != nil {
			faults.Add(fmt.Sprintf("keys[%d].type", i), "%v", err)
		}
	}
	for field, d := range map[string]time.Duration{"timeout": c.Timeout, "silence": c.Silence} {
		if d <= 0 {
			faults.Add(field, "it must be longer than nothing")
		}
	}
}

func (c *Config) validateAnswers(faults template.Faults) {
	given := c.Unattended.given()
	switch {
	case len(given) > 1:
		faults.Add("unattended", "%s and %s exclude each other; an installer reads one kind", given[0].kind.name, given[1].kind.name)
	case len(given) == 0 && len(c.Keys) == 0 && c.Kernel == "":
		faults.Add("unattended", "nothing answers the installer's questions; give preseed, kickstart, autoinstall or autounattend, and the file")
	case len(given) == 0:
	case c.Via == viaHTTP && !given[0].kind.overHTTP:
		faults.Add("via", "Windows Setup reads no answers over HTTP; use via: disk")
	case given[0].kind.name == "preseed" && c.Via == viaDisk && !c.direct():
		faults.Add("via", "from the disc's own boot menu the Debian installer finds answers over HTTP only; use via: http and type its URL, or give the kernel")
	}
}

func (c *Config) validateBoot(faults template.Faults) {
	switch {
	case c.Kernel == "" && c.Initrd != "":
		faults.Add("initrd", "an initrd without a kernel; give the kernel too")
	case c.Kernel != "" && c.Initrd == "":
		faults.Add("kernel", "an installer's kernel needs its initrd; give the initrd too")
	case c.Append != "" && !c.direct():
		faults.Add("append", "the disc's own boot menu is started, which takes no parameters from here; give the kernel, or type them")
	}
	for field, name := range map[string]string{"kernel": c.Kernel, "initrd": c.Initrd} {
		if strings.HasPrefix(name, onDisc) && !c.hasDisc() {
			faults.Add(field, "%q is on a disc, and there is none; give its url or path", name)
		}
	}
	if strings.ContainsAny(c.Append, "\n\r\x00") {
		faults.Add("append", "kernel parameters stand on one line")
	}
}

// Files implements template.FileNamer.
func (c *Config) Files() []template.FileRef {
	files := c.FileRefs()
	for _, a := range c.Unattended.given() {
		files = append(files, template.FileRef{Field: "unattended." + a.kind.name, Path: a.file})
	}
	for field, name := range map[string]string{"kernel": c.Kernel, "initrd": c.Initrd} {
		if name != "" && !strings.HasPrefix(name, onDisc) {
			files = append(files, template.FileRef{Field: field, Path: name})
		}
	}
	for i, k := range c.Keys {
		if k.Picture != "" {
			files = append(files, template.FileRef{Field: fmt.Sprintf("keys[%d].picture", i), Path: k.Picture})
		}
	}
	return files
}

// KeepsDisk implements template.DiskKeeper.
func (c *Config) KeepsDisk() bool { return !c.Canonical }

// HasDisk implements template.DiskKeeper: an installer is given one.
func (c *Config) HasDisk() bool { return false }

func (c *Config) hasDisc() bool { return c.URL != "" || c.Path != "" }

// bootsFiles tells whether kernel and initrd are files, so that no disc is
// needed.
func (c *Config) bootsFiles() bool {
	return c.Kernel != "" && !strings.HasPrefix(c.Kernel, onDisc) && c.Initrd != "" && !strings.HasPrefix(c.Initrd, onDisc)
}

// direct tells whether a kernel is started without the disc's boot menu.
func (c *Config) direct() bool {
	return c.Kernel != "" || len(c.Keys) == 0 && c.Unattended.Autounattend == ""
}

// name is the disc, for people.
func (c *Config) name() string {
	switch {
	case c.URL != "":
		return path.Base(strings.SplitN(c.URL, "?", 2)[0])
	case c.Path != "":
		return path.Base(c.Path)
	}
	return path.Base(c.Kernel)
}
