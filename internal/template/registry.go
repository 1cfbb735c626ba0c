// Package template reads imagebuild.yml: strict YAML, typed, every fault at
// once with its position.
//
// What can stand under source, provision and platforms is not known here: each
// kind brings its own type, and the front hands the list of them to Load.
//
//	file, err := template.Load("imagebuild.yml", registry)
//	resolved, err := file.Resolve(template.Scope{Env: os.LookupEnv})
//
// It refuses templates over 1 MiB, text that is not UTF-8, tabs for
// indentation, duplicate keys, anchors, aliases, merge keys, tags and a second
// document; unknown keys, and values that are not of the very type wanted: a
// number is no string, and nobody guesses. A sensitive value can stand only
// where any text can.
package template

// Kind is one thing that a template can name: a source, a provisioner or a
// platform. Its configuration is a plain struct whose fields carry
//
//	yaml:"key" doc:"One sentence for the schema and the manual."
//
// and which may implement Scalar, Validator and FileNamer on its pointer. More
// tags, all optional:
//
//	enum:"a,b"       the only values of a string, or of a list's strings
//	min:"1" max:"8"  the bounds of a whole number
//	pattern:"^x+$"   what a string must look like
//	keys:"^x+$"      what a mapping's keys must look like
//	hint:"an x"      the pattern in words, for messages
//	required:"true"  the key must be there
//	nonempty:"true"  a list that is there has an item
//	digest:"-"       the field does not decide the image's bytes
//
// A field is a string, bool, integer, time.Duration, encoding.TextUnmarshaler
// (size.Bytes, Mode), a list or a map[string] of these, a struct, or a pointer
// to any of them. A field's type may have a method Enum() []string.
type Kind struct {
	Name string     // the key in the template
	Doc  string     // one sentence
	New  func() any // a pointer to a new configuration holding its defaults
	Test bool       // a step that may stand under test as well as under provision
	// Platforms are the types of platform that a source is for alone, because it
	// is there where they are: no disk is made here, and no steps run here.
	Platforms []string
}

// Registry is everything that a template can name.
type Registry struct {
	Sources   []Kind
	Steps     []Kind
	Platforms []Kind
}

// Scalar is a configuration that may also be written as one bare scalar, as in
// "- shell: script.sh".
type Scalar interface {
	FromScalar(text string)
}

// Validator is a configuration with rules beyond its types. Validate also
// fills in defaults that depend on other fields. It is called after decoding.
type Validator interface {
	Validate(faults Faults)
}

// Faults collects what is wrong with a configuration. field is relative to the
// configuration, as in "source" or "packages[3]"; empty means the whole.
type Faults interface {
	Add(field, format string, args ...any)
}

// FileNamer is a configuration that names files of the user's. The loader
// checks that they exist, and the plan's digest covers their content.
type FileNamer interface {
	Files() []FileRef
}

// DiskKeeper is a source whose disk can be kept as it is, in the place of a new
// one with its files. That takes a machine: a chroot has files and no disk.
type DiskKeeper interface {
	// KeepsDisk tells whether it is to be kept, as the key canonical says.
	KeepsDisk() bool
	// HasDisk tells whether the disk is there already, with a size of its own
	// that a kept one has too, unless disk.size makes it larger.
	HasDisk() bool
}

// FileRef is a file or folder that a configuration names.
type FileRef struct {
	Field string // where, relative to the configuration
	Path  string // as written: relative to the template's folder, or absolute
}
