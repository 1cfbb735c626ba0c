package template

import (
	"time"

	"github.com/org/imagebuild-action/internal/size"
)

// Engine is where the provisioners run.
type Engine string

// The engines.
const (
	Chroot Engine = "chroot" // in the root filesystem, at native speed
	VM     Engine = "vm"     // over SSH, in a booted machine
	// Instance is over SSH in a cloud's machine, where the source is there alone.
	// No template says so: the source does.
	Instance Engine = "instance"
)

// Enum lists the engines that a template can name.
func (Engine) Enum() []string { return []string{string(Chroot), string(VM)} }

// DefaultVersion is the version of an image that nobody gave one.
const DefaultVersion = "0.0.0"

// Template is a resolved template: every expression expanded, every default
// filled in, every rule kept.
type Template struct {
	Name        string
	Description string
	Version     string
	Source      Config
	Engine      Engine
	Disk        Disk
	Machine     Machine
	GuestTools  bool
	Provision   []Step
	Test        []Step
	Platforms   []Platform // in the order of the template
	Release     Release
}

// KeepsDisk tells whether the image's disk is its source's own.
func (t *Template) KeepsDisk() bool {
	keeper, ok := t.Source.Value.(DiskKeeper)
	return ok && keeper.KeepsDisk()
}

// Config is one kind with its configuration.
type Config struct {
	Kind   string
	Value  any // a pointer to the kind's own type
	Public any // the same with every sensitive value replaced by ${{var.name}}: what may be printed and digested
}

// Disk is the image's disk. A size of zero is that of the source's disk, which
// is kept.
type Disk struct {
	Size       size.Bytes `yaml:"size" json:"size" doc:"Virtual size. The root filesystem grows to the real disk at first boot. A disk of source.image that is kept has its own, unless this is larger."`
	Filesystem string     `yaml:"filesystem" json:"filesystem" enum:"ext4" doc:"Filesystem of the root partition."`
	Firmware   string     `yaml:"firmware" json:"firmware" enum:"bios+uefi,bios,uefi" doc:"What the disk can be started by."`
}

// Machine is what the steps run in, with engine vm. Nothing of it decides a
// byte of the image.
type Machine struct {
	CPUs      int        `yaml:"cpus" json:"cpus" min:"1" max:"64" doc:"Its processors."`
	Memory    size.Bytes `yaml:"memory" json:"memory" doc:"Its memory; less if the host has not that much."`
	User      string     `yaml:"user" json:"user,omitempty" pattern:"^([a-z_][a-z0-9_-]{0,31})?$" hint:"the name of an account" doc:"An account of the image's own to enter it by: root, or one with sudo and no password. Without one, root is entered by a key made for this one machine."`
	Key       string     `yaml:"key" json:"-" doc:"File of the private key that the image accepts for user."`
	CloudInit bool       `yaml:"cloud_init" json:"cloud_init,omitempty" doc:"Hand the key over on a seed disk for cloud-init, and not to systemd, which has to be version 252 or newer for that."`
}

// Step is one provisioner, or one test, with the keys that all have.
type Step struct {
	Config    `yaml:"-"`
	Name      string            `yaml:"name" doc:"What the step is called in the output."`
	Only      []string          `yaml:"only" nonempty:"true" doc:"Platforms that the step is for; a declared difference."`
	Except    []string          `yaml:"except" nonempty:"true" doc:"Platforms that the step is not for; a declared difference."`
	Timeout   time.Duration     `yaml:"timeout" doc:"The longest that one try may take."`
	Retries   int               `yaml:"retries" min:"0" max:"10" doc:"How often a failed try is repeated."`
	Env       map[string]string `yaml:"env" keys:"^[A-Za-z_][A-Za-z0-9_]*$" hint:"a letter, then letters, digits and underscores" doc:"Additional environment of the step."`
	PublicEnv map[string]string `yaml:"-"` // Env with sensitive values replaced by their names
	Field     string            `yaml:"-"` // where the step stands, as "provision[2]"
}

// Runs tells whether the step is for the platform of that name.
func (s *Step) Runs(platform string) bool {
	for _, name := range s.Except {
		if name == platform {
			return false
		}
	}
	for _, name := range s.Only {
		if name == platform {
			return true
		}
	}
	return len(s.Only) == 0
}

// Platform is one column of the matrix.
type Platform struct {
	Config          // Kind is the platform's type
	Name   string   // its key in the template
	Arch   []string // in Debian's spelling
}

// Release says what is published beside the artifacts.
type Release struct {
	Oversize Oversize       `yaml:"oversize" json:"oversize" doc:"What to do with a file that GitHub takes no more, from 2 GiB on: split it into numbered parts, or refuse to publish."`
	Vagrant  VagrantRelease `yaml:"vagrant" json:"vagrant" doc:"The Vagrant catalog of the boxes."`
}

// Oversize is what becomes of a file that is too large for a release.
type Oversize string

// What can be done.
const (
	Split  Oversize = "split"
	Refuse Oversize = "refuse"
)

// Enum lists them.
func (Oversize) Enum() []string { return []string{string(Split), string(Refuse)} }

// VagrantRelease is how Vagrant finds the boxes.
type VagrantRelease struct {
	Catalog bool   `yaml:"catalog" json:"catalog" doc:"Write a catalog that lists every version."`
	Pages   string `yaml:"pages" json:"pages,omitempty" pattern:"^([A-Za-z0-9_][A-Za-z0-9._/-]{0,99})?$" hint:"the name of a branch" doc:"Branch of GitHub Pages that serves the catalog. Vagrant takes a catalog only from a server that calls it JSON, and a release's does not."`
}
