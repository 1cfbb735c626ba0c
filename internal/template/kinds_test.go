package template

import (
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/size"
)

// The kinds of the tests: one of every shape that a real kind may have.

type testBootstrap struct {
	Distribution string           `yaml:"distribution" enum:"debian,ubuntu" doc:"Distribution."`
	Release      string           `yaml:"release" required:"true" doc:"Release."`
	Mirror       string           `yaml:"mirror" digest:"-" doc:"Mirror."`
	Packages     []string         `yaml:"packages" doc:"Packages."`
	Repositories []testRepository `yaml:"repositories" doc:"More repositories."`
}

type testRepository struct {
	URL string `yaml:"url" required:"true" doc:"Address."`
	Key string `yaml:"key" doc:"Key file."`
}

func (b *testBootstrap) Files() []FileRef {
	var refs []FileRef
	for i, r := range b.Repositories {
		refs = append(refs, FileRef{Field: "repositories[" + string(rune('0'+i)) + "].key", Path: r.Key})
	}
	return refs
}

type testRemote struct {
	ID string `yaml:"id" required:"true" doc:"Which."`
}

type testImage struct {
	Path      string `yaml:"path" required:"true" doc:"Disk."`
	Canonical bool   `yaml:"canonical" doc:"Make a new disk."`
	installed bool
}

func (i *testImage) KeepsDisk() bool { return !i.Canonical }
func (i *testImage) HasDisk() bool   { return !i.installed }

type testShell struct {
	Script string   `yaml:"script" doc:"Script file."`
	Inline string   `yaml:"inline" doc:"Script text."`
	Args   []string `yaml:"args" doc:"Arguments."`
}

func (s *testShell) FromScalar(text string) {
	if strings.ContainsAny(text, "\n ") {
		s.Inline = text
	} else {
		s.Script = text
	}
}

func (s *testShell) Validate(faults Faults) {
	switch {
	case s.Script == "" && s.Inline == "":
		faults.Add("", "there is nothing to run; give script or inline")
	case s.Script != "" && s.Inline != "":
		faults.Add("inline", "script and inline exclude each other")
	}
}

func (s *testShell) Files() []FileRef { return []FileRef{{Field: "script", Path: s.Script}} }

type testFile struct {
	Source      string `yaml:"source" doc:"File or folder."`
	Destination string `yaml:"destination" required:"true" doc:"Where to."`
	Mode        *Mode  `yaml:"mode" doc:"Mode."`
}

func (f *testFile) Files() []FileRef { return []FileRef{{Field: "source", Path: f.Source}} }

type testMachine struct {
	CPUs     int               `yaml:"cpus" min:"1" max:"64" doc:"Processors."`
	Memory   size.Bytes        `yaml:"memory" doc:"Memory."`
	Firmware *string           `yaml:"firmware" enum:"bios,uefi" doc:"Firmware."`
	Boot     time.Duration     `yaml:"boot" doc:"Boot delay."`
	Ova      bool              `yaml:"ova" doc:"Write an OVA."`
	Extra    map[string]string `yaml:"extra" doc:"Extra settings."`
}

func newMachine() any { return &testMachine{CPUs: 2, Memory: 2 * size.GiB, Ova: true} }

func testRegistry() Registry {
	return Registry{
		Sources: []Kind{
			{Name: "bootstrap", Doc: "From packages.", New: func() any { return &testBootstrap{Distribution: "debian"} }},
			{Name: "remote", Doc: "From where the platform is.", New: func() any { return &testRemote{} }, Platforms: []string{"vmware"}},
			{Name: "image", Doc: "From a disk.", New: func() any { return &testImage{Canonical: true} }},
			{Name: "iso", Doc: "From an installer.", New: func() any { return &testImage{Canonical: true, installed: true} }},
		},
		Steps: []Kind{
			{Name: "shell", Doc: "Runs a script.", New: func() any { return &testShell{} }, Test: true},
			{Name: "file", Doc: "Puts a file.", New: func() any { return &testFile{} }},
		},
		Platforms: []Kind{
			{Name: "libvirt", Doc: "QEMU.", New: newMachine},
			{Name: "virtualbox", Doc: "VirtualBox.", New: newMachine},
			{Name: "vmware", Doc: "VMware.", New: newMachine},
		},
	}
}
