// Package aws publishes images as AMIs, with no instance, no bucket and no
// import task: the canonical disk goes block by block into a snapshot, which is
// registered as an image, copied to other regions, shared and dated.
//
//	platforms:
//	  aws:
//	    region: eu-west-1
//	    copy_to: [us-east-1]
//	    share_with: ["123456789012"]
//	    deprecate_after: 180d
//
// An AMI's name ends in the digest of its plan: what is there already is found
// and not made again, and what a broken run began is finished. Everything
// carries tags that say which run made it. Whatever fails, what this run made is
// taken back; what a killed run made, "imagebuild gc" finds.
//
// With the source ami an image is made of an instance instead, in which the
// steps run: key pair, security group, instance, ssh, the steps, an end without
// our traces, CreateImage, and an instance of the result for the tests. What
// follows is the same, and so is what is refused: nothing is made in vain.
//
// It writes no file to pack, and refuses what EC2 would refuse later or what
// would never boot there: a disk without NVMe and ENA drivers, encryption shared
// with everyone, a deprecation date too far off, a TPM without UEFI.
package aws

import (
	"context"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

// Name is the kind's name in a template.
const Name = "aws"

// Doc is the kind's sentence in the manual.
const Doc = "Amazon EC2: an AMI in every region named, made when the build publishes."

// Platform publishes for one entry of a template.
type Platform struct {
	name   string
	config Config

	// Limits bound what is waited for; zero values mean the defaults.
	Limits amazon.Limits
	// AddressURL says which address this machine has on the internet; empty
	// means AWS's own.
	AddressURL string
}

// New returns the platform called name.
func New(name string, config *Config) *Platform { return &Platform{name: name, config: *config} }

// String returns the name in the template.
func (p *Platform) String() string { return p.name }

// Check has nothing to look at: no tool is used, and AWS is asked only by
// builds that publish.
func (p *Platform) Check(context.Context) error { return nil }

// Hardware is an instance as near as QEMU comes: NVMe, and the firmware that
// EC2's newer machines would start the image with.
func (p *Platform) Hardware() target.Hardware {
	firmware := target.UEFI
	if p.config.BootMode == BootBIOS {
		firmware = target.BIOS
	}
	return target.Hardware{CPUs: 2, Memory: 1 * size.GiB, Firmware: firmware, Controller: target.NVMe, NIC: target.ENA}
}

// GuestPackages are none: the drivers are the kernel's own.
func GuestPackages(string, string) []string { return nil }

// Regions are the places that get an AMI, the template's first.
func (p *Platform) Regions() []string { return p.config.regions() }
