// Package ami starts from an image that is in Amazon EC2 already. There is no
// disk to take: the platform launches an instance of it, the steps run in that,
// and the image of the instance is the result. What launches it is platforms/aws.
//
//	source:
//	  ami:
//	    owner: "136693071363"
//	    name: debian-12-amd64-*
//
// The newest image that fits wins, and its id becomes a part of the plan's
// digest when the image is built: a newer one makes a new image, the same one
// finds what is there. An id in the template pins it.
//
// It refuses a name without an owner, because anybody can publish an image of
// any name, and an ssh port that is open to the whole internet.
package ami

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/org/imagebuild-action/internal/template"
)

// Name is the kind's name in a template.
const Name = "ami"

// Doc is the kind's sentence in the manual.
const Doc = "An image in Amazon EC2: the steps run in an instance of it, and the result is an AMI. For platforms of type aws alone."

// Platform is the one type of platform that can launch it.
const Platform = "aws"

// Config is what stands under source.ami.
type Config struct {
	ID           string   `yaml:"id" pattern:"^ami-[0-9a-f]{8,17}$" hint:"an AMI's id, as ami-0123456789abcdef0" doc:"The very AMI, which is of the platform's region. In place of owner and name."`
	Owner        string   `yaml:"owner" pattern:"^([0-9]{12}|amazon|self)$" hint:"a 12-digit account number in quotes, amazon or self" doc:"Whose AMI it is: the number of an account, amazon or self."`
	Name         string   `yaml:"name" pattern:"^[A-Za-z0-9()\\[\\] ./'@_*?-]{3,128}$" hint:"3 to 128 letters, digits, and ()[] ./-'@_*?" doc:"Name of the AMI, with * and ? for what varies. The newest of the platform's architecture that fits is taken, when the image is built."`
	InstanceType string   `yaml:"instance_type" digest:"-" pattern:"^[a-z][a-z0-9-]*\\.[a-z0-9-]+$" hint:"an instance type, as t3.small" doc:"Type of the instance that the steps run in: t3.small, or t4g.small for arm64, unless given."`
	User         string   `yaml:"user" digest:"-" pattern:"^[a-z_][a-z0-9_-]{0,31}$" hint:"the name of an account" doc:"Account that the AMI gives the key of its instance to, with sudo and no password. Unless given it is the usual one of the AMI's name: admin for Debian, ubuntu for Ubuntu, fedora, rocky, else ec2-user."`
	SSHPort      int      `yaml:"ssh_port" digest:"-" min:"1" max:"65535" doc:"Port of the AMI's ssh server."`
	Subnet       string   `yaml:"subnet" digest:"-" pattern:"^subnet-[0-9a-f]{8,17}$" hint:"a subnet's id, as subnet-0123456789abcdef0" doc:"Subnet of the instance; one of the default VPC unless given."`
	Private      bool     `yaml:"private" digest:"-" doc:"Give the instance no public address, and connect to its private one. Wants subnet and allow."`
	Allow        []string `yaml:"allow" digest:"-" nonempty:"true" doc:"IPv4 addresses, as 203.0.113.7 or 203.0.113.0/24, that reach the instance's ssh port. Unless given, it is the one address that this machine has on the internet, as checkip.amazonaws.com sees it."`
}

// New returns the defaults.
func New() *Config { return &Config{SSHPort: 22} }

// Validate implements template.Validator.
func (c *Config) Validate(faults template.Faults) {
	switch {
	case c.ID == "" && c.Owner == "" && c.Name == "":
		faults.Add("", "which AMI is not said; give its id, or its owner and its name")
	case c.ID != "" && c.Owner != "":
		faults.Add("owner", "the id says which AMI it is; keep either the id, or owner and name")
	case c.ID != "" && c.Name != "":
		faults.Add("name", "the id says which AMI it is; keep either the id, or owner and name")
	case c.ID == "" && c.Owner == "":
		faults.Add("name", "a name without an owner fits what anybody publishes; add owner, as \"136693071363\", amazon or self")
	case c.ID == "" && c.Name == "":
		faults.Add("owner", "which of the owner's AMIs is not said; add name, as debian-12-amd64-*")
	}
	for i, each := range c.Allow {
		field := fmt.Sprintf("allow[%d]", i)
		switch prefix, err := Prefix(each); {
		case err != nil:
			faults.Add(field, "%q is no IPv4 address and no network; write it as 203.0.113.7 or 203.0.113.0/24", each)
		case prefix.Bits() == 0:
			faults.Add(field, "%s lets everybody reach the instance; name the networks that it is built from", each)
		case slices.Contains(c.Allow[:i], each):
			faults.Add(field, "%s is there already", each)
		}
	}
	if c.Private && c.Subnet == "" {
		faults.Add("private", "the subnets of a default VPC are public ones; name a private one with subnet")
	}
	if c.Private && len(c.Allow) == 0 {
		faults.Add("private", "how this machine is seen from within the subnet cannot be found out; name its address or network with allow")
	}
}

// Pinned tells whether the template itself says which AMI it is.
func (c *Config) Pinned() bool { return c.ID != "" }

// Prefix reads an item of Allow.
func Prefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(text); err != nil {
			return prefix, err
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if !prefix.Addr().Is4() {
		return prefix, fmt.Errorf("%s is not of IPv4", prefix)
	}
	return prefix.Masked(), nil
}

// Source is a source with its configuration: neither a tree nor a disk.
type Source struct{ config Config }

// Open returns the source that config describes.
func Open(config *Config) *Source { return &Source{*config} }

// String names it as the template does.
func (s *Source) String() string {
	if s.config.ID != "" {
		return s.config.ID
	}
	return fmt.Sprintf("newest AMI %s of %s", s.config.Name, s.config.Owner)
}

// Check has nothing to look at on this machine: the platform asks AWS.
func (s *Source) Check(context.Context) error { return nil }
