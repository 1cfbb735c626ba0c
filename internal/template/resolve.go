package template

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/size"
)

// Patterns of the words that end up in file names and URLs. A version is what
// RubyGems, and so Vagrant, takes for one; no branch is empty.
const (
	NamePattern    = `^[a-z0-9][a-z0-9._-]{0,63}$`
	VersionPattern = `^[0-9]{1,9}(\.[0-9A-Za-z]{1,16}){0,3}(-[0-9A-Za-z]{1,16}(\.[0-9A-Za-z]{1,16}){0,3})?$`
	BranchPattern  = `^([A-Za-z0-9_][A-Za-z0-9._/-]{0,99})?$`
)

// document is the template's outermost mapping. The nodes are decoded by what
// knows the registry.
type document struct {
	Name        string     `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" hint:"lower-case letters, digits, dots, dashes and underscores, at most 64, beginning with a letter or digit" doc:"Name of the image; file names begin with it."`
	Description string     `yaml:"description" doc:"What the image is for."`
	Version     string     `yaml:"version" pattern:"^[0-9]{1,9}(\\.[0-9A-Za-z]{1,16}){0,3}(-[0-9A-Za-z]{1,16}(\\.[0-9A-Za-z]{1,16}){0,3})?$" hint:"a version like 1.2.3 or 1.2.3-rc.1, without a leading v" doc:"Version of the image when no tag gives one."`
	Variables   *yaml.Node `yaml:"variables" doc:"Values that differ from build to build, looked up as ${{ var.NAME }}."`
	Source      *yaml.Node `yaml:"source" required:"true" doc:"What the image starts from: exactly one kind."`
	Engine      Engine     `yaml:"engine" doc:"Where the provisioners run: in the root filesystem, or in a booted machine."`
	Disk        Disk       `yaml:"disk" doc:"The image's disk."`
	Machine     Machine    `yaml:"machine" doc:"The machine that the steps run in, with engine: vm."`
	GuestTools  bool       `yaml:"guest_tools" doc:"Install the guest tools of every hypervisor; each starts only on its own."`
	Provision   *yaml.Node `yaml:"provision" doc:"What is done to the image, in order."`
	Test        *yaml.Node `yaml:"test" doc:"What is run in the booted artifact to prove it."`
	Platforms   *yaml.Node `yaml:"platforms" required:"true" doc:"What the image is built for, one entry each."`
	Release     Release    `yaml:"release" doc:"What is published beside the artifacts."`
}

func newDocument() document {
	return document{
		Version: DefaultVersion, Engine: Chroot, GuestTools: true,
		Disk:    Disk{Size: 8 * size.GiB, Filesystem: "ext4", Firmware: "bios+uefi"},
		Machine: Machine{CPUs: 2, Memory: size.GiB},
		Release: Release{Oversize: Split, Vagrant: VagrantRelease{Catalog: true}},
	}
}

// Resolve expands every expression and decodes the template for one platform
// and architecture. Its error is a fault.List with every fault, and its
// messages show no sensitive value.
//
// With no platform in scope the template's first one stands in, so that
// Resolve(Scope{}) validates the whole of a template.
func (f *File) Resolve(scope Scope) (*Template, error) {
	if scope.Redact == nil {
		scope.Redact = &redact.Set{} // for the messages
	}
	var faults, ignored fault.List
	t := f.resolve(scope, false, &faults)
	if err := f.tidy(faults, scope.Redact).Err(); err != nil {
		return nil, err
	}
	t.publish(f.resolve(scope, true, &ignored))
	return t, nil
}

// tidy puts the structure's faults first, drops what was found twice, and
// masks what must not be printed. Where the structure is at fault, nothing
// else is said about the same place.
func (f *File) tidy(faults fault.List, secrets *redact.Set) fault.List {
	seen := map[fault.Located]bool{}
	broken := map[place]bool{}
	var kept fault.List
	for _, each := range f.faults {
		broken[place{Line: each.Line, Column: each.Column}] = true
		kept = append(kept, each)
	}
	if max(len(faults), len(f.faults)) >= MaxFaults {
		kept.Add(f.position(place{}, ""), "there are more faults than these; mend them and look again")
	}
	for _, each := range faults {
		each.Message = secrets.String(each.Message)
		if !seen[*each] && !broken[place{Line: each.Line, Column: each.Column}] {
			seen[*each] = true
			kept = append(kept, each)
		}
	}
	return kept
}

func (f *File) resolve(scope Scope, public bool, faults *fault.List) *Template {
	d := &decoder{file: f, public: public, faults: faults}
	if f.root.Kind != yaml.MappingNode {
		d.add(f.root, "", "want a mapping of name, source, platforms and so on, found %s", describe(f.root))
		return &Template{}
	}
	d.declare(mapValue(f.root, "variables"), scope)
	d.look.env, d.look.matrix = scope.Env, scope.Matrix
	heads := d.head(scope)

	doc := newDocument()
	d.structure(f.root, "", reflect.ValueOf(&doc).Elem())
	d.machine(&doc)
	names := slices.Collect(maps.Keys(heads))
	slices.Sort(names)
	t := &Template{
		Name: doc.Name, Description: doc.Description, Version: d.look.image["version"].text,
		Engine: doc.Engine, Disk: doc.Disk, Machine: doc.Machine, GuestTools: doc.GuestTools, Release: doc.Release,
		Provision: d.steps(doc.Provision, "provision", names),
		Test:      d.steps(doc.Test, "test", names),
		Platforms: d.platforms(doc.Platforms, heads),
	}
	if doc.Source != nil {
		t.Source = d.source(doc.Source)
		d.elsewhere(t)
	}
	d.keptDisk(t)
	return t
}

// keptDisk checks what a disk that stays as it is means to other keys.
func (d *decoder) keptDisk(t *Template) {
	if !t.KeepsDisk() {
		return
	}
	root := d.file.root
	if t.Engine != VM {
		node := mapValue(mapValue(root, "source"), t.Source.Kind)
		d.add(keyOf(node, "canonical"), "source."+t.Source.Kind+".canonical",
			"false keeps the disk as it is, and engine: chroot has no disk, only its files; set engine: vm, or leave this out")
	}
	if keeper, _ := t.Source.Value.(DiskKeeper); keeper.HasDisk() && mapValue(mapValue(root, "disk"), "size") == nil {
		t.Disk.Size = 0
	}
}

// machine checks what its keys mean to each other.
func (d *decoder) machine(doc *document) {
	node := mapValue(d.file.root, "machine")
	if node == nil {
		return
	}
	m := doc.Machine
	switch {
	case doc.Engine != VM:
		d.add(keyOf(d.file.root, "machine"), "machine", "the steps run in a machine with engine: vm only; add that, or leave this out")
	case m.Key == "" && m.User != "":
		d.add(keyOf(node, "user"), "machine.user", "an account without a key: name the file of its private key in machine.key")
	case m.Key != "" && m.CloudInit:
		d.add(keyOf(node, "cloud_init"), "machine.cloud_init", "a key of the image's own needs no seed disk; keep one of the two")
	}
}

// declare reads the variables section, where no expression can stand.
func (d *decoder) declare(node *yaml.Node, scope Scope) {
	declared := map[string]*variable{}
	if node != nil && !isNull(node) {
		d.look.closed = true
		d.value(node, reflect.ValueOf(&declared).Elem(), field{keys: variablePattern, hint: "a letter, then letters, digits, dashes and underscores"}, "variables")
		d.look.closed = false
	}
	if node == nil {
		node = d.file.root
	}
	d.variables(node, declared, scope)
}

// head decodes what other expressions look up: the name, the version, and the
// platforms' names, types and architectures.
func (d *decoder) head(scope Scope) map[string]platformHead {
	tag := value{text: scope.Tag, defined: scope.Tag != ""}
	d.look.image = map[string]value{"tag": tag}
	doc := newDocument()
	v := reflect.ValueOf(&doc).Elem()
	for _, f := range fieldsOf(v.Type()) {
		if node := mapValue(d.file.root, f.key); node != nil && (f.key == "name" || f.key == "version") {
			d.value(node, v.FieldByIndex(f.index), f, f.key)
		}
	}
	if scope.Version != "" {
		doc.Version = scope.Version
		if !d.matches(VersionPattern, scope.Version) {
			d.report(place{}, "version", "%q, given from outside, is not a version; it is like 1.2.3 or 1.2.3-rc.1, without a leading v", scope.Version)
		}
	}
	heads := map[string]platformHead{}
	platforms := mapValue(d.file.root, "platforms")
	for key, content := range pairs(platforms) {
		head := newPlatformHead(key.Value)
		hv := reflect.ValueOf(&head).Elem()
		d.look.platform = map[string]value{"name": {text: key.Value, defined: true}}
		for _, f := range fieldsOf(hv.Type()) {
			if node := mapValue(content, f.key); node != nil {
				d.value(node, hv.FieldByIndex(f.index), f, child("platforms."+key.Value, f.key))
			}
		}
		heads[key.Value] = head
		if scope.Platform.Name == "" {
			scope.Platform = Target{Name: key.Value, Type: head.Type}
		}
		if scope.Arch == "" && len(head.Arch) > 0 {
			scope.Arch = head.Arch[0]
		}
	}
	d.look.image = map[string]value{
		"name": {text: doc.Name, defined: true}, "version": {text: doc.Version, defined: true},
		"arch": {text: scope.Arch, defined: scope.Arch != ""}, "tag": tag,
	}
	d.look.platform = platformValues(scope.Platform)
	return heads
}

func platformValues(p Target) map[string]value {
	return map[string]value{
		"name": {text: p.Name, defined: p.Name != ""}, "type": {text: p.Type, defined: p.Type != ""},
	}
}

// publish takes the public form over from the template's second decoding.
func (t *Template) publish(public *Template) {
	t.Description = public.Description
	t.Source.Public = public.Source.Value
	for i := range t.Platforms {
		t.Platforms[i].Public = public.Platforms[i].Value
	}
	for _, steps := range [][2][]Step{{t.Provision, public.Provision}, {t.Test, public.Test}} {
		for i := range steps[0] {
			own, other := &steps[0][i], &steps[1][i]
			own.Public, own.PublicEnv, own.Name = other.Value, other.Env, other.Name
		}
	}
}

// within tells whether a fault's field is the field given or a part of it.
func within(field, whole string) bool {
	rest, ok := strings.CutPrefix(field, whole)
	return ok && (rest == "" || whole == "" || rest[0] == '.' || rest[0] == '[')
}
