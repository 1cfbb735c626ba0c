package plan

import (
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/template"
)

// The kinds of the tests.

type testSource struct {
	Release  string   `yaml:"release" required:"true" doc:"Release."`
	Packages []string `yaml:"packages" doc:"Packages."`
	Mirror   string   `yaml:"mirror" digest:"-" doc:"Mirror."`
	Keys     []string `yaml:"keys" doc:"Key files."`
}

func (s *testSource) Files() []template.FileRef {
	var refs []template.FileRef
	for i, key := range s.Keys {
		refs = append(refs, template.FileRef{Field: "keys[" + strconv.Itoa(i) + "]", Path: key})
	}
	return refs
}

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

func (s *testShell) Files() []template.FileRef {
	return []template.FileRef{{Field: "script", Path: s.Script}}
}

type testFile struct {
	Source      string         `yaml:"source" doc:"File or folder."`
	Destination string         `yaml:"destination" doc:"Where to."`
	Mode        *template.Mode `yaml:"mode" doc:"Mode."`
}

func (f *testFile) Files() []template.FileRef {
	return []template.FileRef{{Field: "source", Path: f.Source}}
}

func (f *testFile) String() string { return "file " + f.Destination }

type testMachine struct {
	CPUs   int        `yaml:"cpus" doc:"Processors."`
	Memory size.Bytes `yaml:"memory" doc:"Memory."`
	Ova    bool       `yaml:"ova" doc:"Write an OVA."`
	NVRAM  string     `yaml:"nvram" doc:"NVRAM file."`
}

func (m *testMachine) Files() []template.FileRef {
	return []template.FileRef{{Field: "nvram", Path: m.NVRAM}}
}

func testRegistry() template.Registry {
	machine := func() any { return &testMachine{CPUs: 2, Memory: 2 * size.GiB, Ova: true} }
	return template.Registry{
		Sources: []template.Kind{
			{Name: "bootstrap", Doc: "From packages.", New: func() any { return &testSource{} }},
			{Name: "copy", Doc: "From a copy.", New: func() any { return &testSource{} }},
		},
		Steps: []template.Kind{
			{Name: "shell", Doc: "Runs a script.", New: func() any { return &testShell{} }, Test: true},
			{Name: "file", Doc: "Puts a file.", New: func() any { return &testFile{} }},
		},
		Platforms: []template.Kind{
			{Name: "libvirt", Doc: "QEMU.", New: machine},
			{Name: "virtualbox", Doc: "VirtualBox.", New: machine},
			{Name: "vmware", Doc: "VMware.", New: machine},
		},
	}
}
