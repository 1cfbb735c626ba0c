// Package source holds the ways to come by a root filesystem, and the list of
// those that a template can name.
//
//	src, err := source.Open(config, source.Request{Arch: "amd64", CacheDir: dir, Epoch: epoch})
//	err = src.Check(ctx)
//	key, err := src.Key(ctx)
//	err = src.Populate(ctx, root, task)
//
// A new source is one package beside bootstrap and one line in list.
package source

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/source/bootstrap"
	diskimage "github.com/org/imagebuild-action/internal/source/image"
	"github.com/org/imagebuild-action/internal/source/iso"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/vm"
)

// Source is where an image starts.
type Source interface {
	// String names it in a few words.
	fmt.Stringer
	// Check finds what this machine lacks. It is fast and changes nothing.
	Check(ctx context.Context) error
}

// TreeSource is a source that fills a directory with a root filesystem.
type TreeSource interface {
	Source
	// Key identifies the tree that Populate would make now. It may ask the
	// network for a second or two. After Populate it is the key of the tree
	// that was made.
	Key(ctx context.Context) (string, error)
	// Populate fills the empty directory dir. Its parent must be on the same
	// file system and writable: work files go there, and are removed.
	Populate(ctx context.Context, dir string, task report.Task) error
}

// DiskSource is a source that is a whole disk.
type DiskSource interface {
	Source
	// Key identifies the disk that WriteDisk would write, or has written; as
	// of TreeSource.
	Key(ctx context.Context) (string, error)
	// WriteDisk writes the disk's sectors to path, sparse: whole, or not at
	// all. Work files go beside it, and are removed.
	WriteDisk(ctx context.Context, path string, task report.Task) error
	// Slow tells whether writing the disk again would take longer than
	// keeping it.
	Slow() bool
}

// Request is what a build asks of any source besides its configuration.
type Request struct {
	Arch        string      // Debian's spelling: amd64, arm64
	Epoch       time.Time   // SOURCE_DATE_EPOCH for what packages generate
	TemplateDir string      // where relative paths of the template start
	CacheDir    string      // absolute; made when missing
	Packages    []string    // more than the configuration names, for new systems
	DiskSize    size.Bytes  // of the disk that an installer is given
	FailureDir  string      // receives what explains a failed installation; empty: it is not kept
	Accel       vm.Accel    // for installers; empty means vm.Auto
	Report      report.Task // takes notes outside the making; may be nil
}

// kind is a source's place in the template and its constructor.
type kind struct {
	template.Kind
	open func(config any, request Request) Source
}

func list() []kind {
	return []kind{
		{
			template.Kind{Name: "bootstrap", Doc: "A new Debian or Ubuntu system made from packages.", New: func() any { return bootstrap.New() }},
			func(c any, r Request) Source {
				return bootstrap.Open(c.(*bootstrap.Config), bootstrap.Request{ //nolint:forcetypeassert // Open compared the types
					Arch: r.Arch, Epoch: r.Epoch, TemplateDir: r.TemplateDir, CacheDir: r.CacheDir, Packages: r.Packages, Report: r.Report,
				})
			},
		},
		{
			template.Kind{Name: "image", Doc: "The system on a disk image, a Vagrant box or an OVA that is there already.", New: func() any { return diskimage.New() }},
			func(c any, r Request) Source {
				return diskimage.Open(c.(*diskimage.Config), diskimage.Request{Arch: r.Arch, TemplateDir: r.TemplateDir, CacheDir: r.CacheDir}) //nolint:forcetypeassert // as above
			},
		},
		{
			template.Kind{Name: "iso", Doc: "A system that its own installer makes, from the installer's disc and a file of answers.", New: func() any { return iso.New() }},
			func(c any, r Request) Source {
				return iso.Open(c.(*iso.Config), iso.Request{ //nolint:forcetypeassert // as above
					Arch: r.Arch, Disk: r.DiskSize, TemplateDir: r.TemplateDir, CacheDir: r.CacheDir, FailureDir: r.FailureDir, Accel: r.Accel, Report: r.Report,
				})
			},
		},
		{
			template.Kind{Name: ami.Name, Doc: ami.Doc, New: func() any { return ami.New() }, Platforms: []string{ami.Platform}},
			func(c any, _ Request) Source { return ami.Open(c.(*ami.Config)) }, //nolint:forcetypeassert // as above
		},
	}
}

// Kinds is every source, for template.Registry.Sources.
func Kinds() []template.Kind {
	all := list()
	kinds := make([]template.Kind, len(all))
	for i, k := range all {
		kinds[i] = k.Kind
	}
	return kinds
}

// Open returns the source that a configuration of one of Kinds describes.
func Open(config any, request Request) (Source, error) {
	for _, k := range list() {
		if reflect.TypeOf(k.New()) == reflect.TypeOf(config) {
			return k.open(config, request), nil
		}
	}
	return nil, fault.Errorf(fault.Bug, "no source has a configuration of type %T", config)
}

var (
	_ TreeSource = (*bootstrap.Bootstrap)(nil)
	_ DiskSource = (*diskimage.Image)(nil)
	_ DiskSource = (*iso.Source)(nil)
	_ Source     = (*ami.Source)(nil)
)
