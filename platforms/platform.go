// Package platforms lists the targets that an image can be built for, and says
// what it takes to be one.
//
// Adding a platform is a folder beside the others, its test data, and one line
// in entries.
package platforms

import (
	"context"
	"fmt"
	"slices"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/platforms/aws"
	"github.com/org/imagebuild-action/platforms/libvirt"
	"github.com/org/imagebuild-action/platforms/virtualbox"
	"github.com/org/imagebuild-action/platforms/vmware"
)

// Platform is one target of a build. What it can do besides are its roles:
// Packer, Publisher, Launcher.
type Platform interface {
	// String is the platform's name in the template.
	fmt.Stringer
	// Check finds out, without changing anything, whether it can be built for.
	Check(ctx context.Context) error
	// Hardware is the machine that the image will run on.
	Hardware() target.Hardware
}

// Packer is a platform whose images are files.
type Packer interface {
	Platform
	// Pack writes the artifacts into job.Dir: all of them, or none.
	Pack(ctx context.Context, job target.Job, task report.Task) ([]image.Artifact, error)
}

// Publisher is a platform whose images are in a cloud. What it publishes is
// the canonical disk.
type Publisher interface {
	Platform
	// ImageName is what the image is called there.
	ImageName(t target.Publication) string
	// CheckGuest refuses a root filesystem that could not start there. lacks are
	// the drivers that its kernels have not, with a sentence each.
	CheckGuest(ctx context.Context, t image.Tree, lacks map[string]string, task report.Task) error
	// CheckPublish finds out, without making anything, whether Publish can work.
	CheckPublish(ctx context.Context, t target.Publication) error
	// Publish makes the images, or finds that they are there. What it makes it
	// registers with t.Undo and notes in t.Journal, before it is made.
	Publish(ctx context.Context, t target.Publication, task report.Task) (target.Published, error)
	// Policy renders the least rights that Publish takes, as the cloud reads them.
	Policy() ([]byte, error)
	// Regions are the places that it publishes to.
	Regions() []string
}

// Launcher is a Publisher whose images can also be made where they are: of an
// image that is there already, by a machine there in which the steps run.
type Launcher interface {
	Publisher
	// Origin looks for the image that t.Source names, as it is now.
	Origin(ctx context.Context, t target.Launch) (target.Origin, error)
	// CheckLaunch finds out, without making anything, whether Launch can work.
	CheckLaunch(ctx context.Context, t target.Launch) error
	// Launch makes the images, or finds that they are there. What it makes it
	// registers and notes as Publish does; the machines are gone when it returns
	// without an error.
	Launch(ctx context.Context, t target.Launch, task report.Task) (target.Published, error)
	// LaunchPolicy renders the least rights that Launch takes.
	LaunchPolicy(source any) ([]byte, error)
}

// entry is a kind of platform.
type entry struct {
	template.Kind
	make          func(name string, config any) (Platform, error)
	guestPackages func(osName, release string) []string
}

// newEntry ties a package's parts together.
func newEntry[C any, P Platform](
	name, doc string, config func() *C, make func(string, *C) P, guestPackages func(osName, release string) []string,
) entry {
	return entry{
		Kind: template.Kind{Name: name, Doc: doc, New: func() any { return config() }},
		make: func(name string, config any) (Platform, error) {
			c, ok := config.(*C)
			if !ok {
				return nil, fault.Errorf(fault.Bug, "platform %s: the configuration is a %T", name, config)
			}
			return make(name, c), nil
		},
		guestPackages: guestPackages,
	}
}

// entries is the registration list.
func entries() []entry {
	return []entry{
		newEntry(libvirt.Name, libvirt.Doc, libvirt.NewConfig, libvirt.New, libvirt.GuestPackages),
		newEntry(virtualbox.Name, virtualbox.Doc, virtualbox.NewConfig, virtualbox.New, virtualbox.GuestPackages),
		newEntry(vmware.Name, vmware.Doc, vmware.NewConfig, vmware.New, vmware.GuestPackages),
		newEntry(aws.Name, aws.Doc, aws.NewConfig, aws.New, aws.GuestPackages),
	}
}

// Kinds is what a template can say under platforms.
func Kinds() []template.Kind {
	var kinds []template.Kind
	for _, e := range entries() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// New makes a platform of a kind, called name in the template, from the
// configuration that its Kind made.
func New(kind, name string, config any) (Platform, error) {
	for _, e := range entries() {
		if e.Name == kind {
			return e.make(name, config)
		}
	}
	return nil, fault.Errorf(fault.Input, "unknown platform type %q", kind)
}

// GuestPackages lists what every image carries for the hypervisors, whatever
// its target, so that the disk is the same everywhere. Each package's service
// starts only on the hypervisor that it is for. Sorted.
func GuestPackages(osName, release string) []string {
	var all []string
	for _, e := range entries() {
		all = append(all, e.guestPackages(osName, release)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Collect finds what dead runs left in the cloud of a kind of platform, and
// removes it.
func Collect(ctx context.Context, kind string, s target.Sweep, task report.Task) ([]target.Leftover, error) {
	if kind != aws.Name {
		return nil, fault.Errorf(fault.Input, "platforms of type %q leave nothing anywhere; the one that may is %s", kind, aws.Name)
	}
	return aws.Collect(ctx, s, amazon.Limits{}, task)
}
