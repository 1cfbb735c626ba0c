package aws

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/template"
)

// BootMode is the firmware that an instance starts with.
type BootMode string

// The boot modes (RegisterImage, BootMode).
const (
	BootBIOS      BootMode = "legacy-bios"
	BootUEFI      BootMode = "uefi"
	BootPreferred BootMode = "uefi-preferred"
)

// Protection is what keeps an AMI from being deregistered.
type Protection string

// The kinds of protection.
const (
	Unprotected Protection = "none"
	Protected   Protection = "on"
	Cooldown    Protection = "cooldown" // it stays for 24 hours after it was switched off
)

// Config is what a template can say. What is tagged digest:"-" can change
// after the AMI was made, and is made true of the one that is there.
type Config struct {
	Region         string            `yaml:"region" required:"true" pattern:"^[a-z]{2}(-[a-z]+)+-[0-9]+$" hint:"a region, as eu-west-1" doc:"Region where the snapshot is written and the AMI registered."`
	CopyTo         []string          `yaml:"copy_to" digest:"-" pattern:"^[a-z]{2}(-[a-z]+)+-[0-9]+$" hint:"a region, as eu-west-1" doc:"Regions to copy the AMI to."`
	AMIName        string            `yaml:"ami_name" pattern:"^[A-Za-z0-9()\\[\\] ./'@_-]{3,115}$" hint:"3 to 115 letters, digits and ()[] ./-'@_" doc:"Name of the AMI, before the 12 digits of the plan's digest; name-version-platform-arch unless given."`
	Description    string            `yaml:"description" pattern:"^[ -~]{0,255}$" hint:"at most 255 printable ASCII characters" doc:"Description of AMI and snapshot."`
	BootMode       BootMode          `yaml:"boot_mode" enum:"legacy-bios,uefi,uefi-preferred" doc:"Firmware of the instances. uefi-preferred takes BIOS where an instance type has no UEFI."`
	IMDS           string            `yaml:"imds" enum:"v2,optional" doc:"Whether instances demand version 2 of the metadata service."`
	TPM            bool              `yaml:"tpm" doc:"Give instances a NitroTPM 2.0; wants boot_mode: uefi."`
	RootDevice     string            `yaml:"root_device" enum:"/dev/xvda,/dev/sda1" doc:"Name of the root device."`
	VolumeType     string            `yaml:"volume_type" enum:"gp3,gp2,io2,io1" doc:"Type of the root volume."`
	VolumeSize     size.Bytes        `yaml:"volume_size" doc:"Size of the root volume, whole GiB; the disk's size unless given. The file system grows to it."`
	IOPS           int               `yaml:"iops" min:"0" max:"256000" doc:"Of the root volume: gp3, io1 and io2."`
	Throughput     int               `yaml:"throughput" min:"0" max:"2000" doc:"Of the root volume in MiB/s: gp3."`
	Encrypted      bool              `yaml:"encrypted" doc:"Encrypt the snapshots, with the account's default key unless kms_keys names one."`
	KMSKeys        map[string]string `yaml:"kms_keys" keys:"^[a-z]{2}(-[a-z]+)+-[0-9]+$" hint:"a region, as eu-west-1" doc:"ARN of the KMS key of a region's snapshot."`
	ShareWith      []string          `yaml:"share_with" digest:"-" doc:"Who may launch it: account numbers, ARNs of organisations and organisational units, or public."`
	DeprecateAfter Age               `yaml:"deprecate_after" digest:"-" doc:"Age at which the AMI is no longer listed, as 180d or 2y; at most 10y, 2y if public."`
	SSMParameter   string            `yaml:"ssm_parameter" digest:"-" pattern:"^/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){0,14}$" hint:"a parameter's name, as /images/golden" doc:"SSM parameter that gets the AMI's id, in every region."`
	Deregister     Protection        `yaml:"deregister_protection" digest:"-" enum:"none,on,cooldown" doc:"Protect the AMI from being deregistered. With cooldown that cannot be taken back for a day."`
	Tags           map[string]string `yaml:"tags" digest:"-" keys:"^[A-Za-z0-9 _.:/=+@-]{1,127}$" hint:"letters, digits and _.:/=+-@" doc:"Tags of AMIs and snapshots, besides our own."`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{BootMode: BootPreferred, IMDS: "v2", RootDevice: "/dev/xvda", VolumeType: "gp3", Deregister: Unprotected}
}

// public is the word for everyone.
const public = "public"

// maxTags is AWS's 50 of one resource, less our own and some to spare.
const maxTags = 40

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)                                                            //nolint:gochecknoglobals // a constant
	orgPattern     = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:organization/o-[a-z0-9]+$`)     //nolint:gochecknoglobals // a constant
	unitPattern    = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:ou/o-[a-z0-9]+/ou-[a-z0-9-]+$`) //nolint:gochecknoglobals // a constant
	keyPattern     = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(key|alias)/.+$`)             //nolint:gochecknoglobals // a constant
)

// Validate implements template.Validator.
func (c *Config) Validate(faults template.Faults) {
	for i, region := range c.CopyTo {
		if region == c.Region || slices.Contains(c.CopyTo[:i], region) {
			faults.Add(fmt.Sprintf("copy_to[%d]", i), "%s is there already", region)
		}
	}
	c.validateVolume(faults)
	c.validateKeys(faults)
	c.validateShares(faults)
	if c.TPM && c.BootMode != BootUEFI {
		faults.Add("tpm", "a NitroTPM wants boot_mode: uefi, not %s", c.BootMode)
	}
	if strings.HasPrefix(strings.TrimPrefix(c.SSMParameter, "/"), "aws") || strings.HasPrefix(strings.TrimPrefix(c.SSMParameter, "/"), "ssm") {
		faults.Add("ssm_parameter", "AWS keeps names that begin with aws and ssm for itself; choose another")
	}
	if strings.Contains(c.SSMParameter, "/") && !strings.HasPrefix(c.SSMParameter, "/") {
		faults.Add("ssm_parameter", "a name with a slash begins with one; write /%s", c.SSMParameter)
	}
	if len(c.Tags) > maxTags {
		faults.Add("tags", "%d tags; at most %d", len(c.Tags), maxTags)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Tags)) {
		switch {
		case strings.HasPrefix(key, "aws:"), strings.HasPrefix(key, tagPrefix):
			faults.Add("tags."+key, "keys that begin with aws: or %s are not for templates", tagPrefix)
		case len(c.Tags[key]) > 255:
			faults.Add("tags."+key, "the value has %d characters; at most 255", len(c.Tags[key]))
		}
	}
}

func (c *Config) validateVolume(faults template.Faults) {
	if c.VolumeSize%size.GiB != 0 || c.VolumeSize > 64*size.TiB {
		faults.Add("volume_size", "%s is not a whole number of GiB up to 64TiB", c.VolumeSize)
	}
	provisioned := c.VolumeType == "io1" || c.VolumeType == "io2"
	switch {
	case c.IOPS != 0 && c.VolumeType == "gp2":
		faults.Add("iops", "a gp2 volume has no choice of them; use gp3")
	case provisioned && c.IOPS < 100:
		faults.Add("iops", "a volume of type %s wants at least 100", c.VolumeType)
	case c.VolumeType == "gp3" && c.IOPS != 0 && (c.IOPS < 3000 || c.IOPS > 80000):
		faults.Add("iops", "a gp3 volume has 3000 to 80000, not %d", c.IOPS)
	}
	if c.Throughput != 0 && (c.VolumeType != "gp3" || c.Throughput < 125) {
		faults.Add("throughput", "only gp3 volumes have a choice, from 125 MiB/s on")
	}
}

func (c *Config) validateKeys(faults template.Faults) {
	for _, region := range slices.Sorted(maps.Keys(c.KMSKeys)) {
		field, key := "kms_keys."+region, c.KMSKeys[region]
		match := keyPattern.FindStringSubmatch(key)
		switch {
		case !slices.Contains(c.regions(), region):
			faults.Add(field, "%s is neither region nor in copy_to", region)
		case match == nil:
			faults.Add(field, "%q is not the ARN of a KMS key, as arn:aws:kms:%s:123456789012:key/...", key, region)
		case match[1] != region:
			faults.Add(field, "the key is in %s; a key encrypts in its own region alone", match[1])
		case region == c.Region && match[2] != "key":
			faults.Add(field, "the region where the snapshot is written wants the key's own ARN, not an alias")
		case !c.Encrypted:
			faults.Add(field, "a key wants encrypted: true")
		}
	}
}

func (c *Config) validateShares(faults template.Faults) {
	for i, who := range c.ShareWith {
		field := fmt.Sprintf("share_with[%d]", i)
		switch {
		case slices.Contains(c.ShareWith[:i], who):
			faults.Add(field, "%s is there already", who)
		case who == public && c.Encrypted:
			faults.Add(field, "an AMI with encrypted snapshots cannot be shared publicly; share it with accounts, or leave encrypted out")
		case who == public, accountPattern.MatchString(who), orgPattern.MatchString(who), unitPattern.MatchString(who):
		default:
			faults.Add(field, "%q is neither a 12-digit account number in quotes, nor the ARN of an organisation or a unit of one, nor public", who)
		}
	}
	limit := 10
	if slices.Contains(c.ShareWith, public) {
		limit = 2
	}
	if c.DeprecateAfter > Age(limit)*year {
		faults.Add("deprecate_after", "%s is longer than %d years, the most that EC2 takes for this AMI", c.DeprecateAfter, limit)
	}
}

// regions are all that get an AMI, the first one first.
func (c *Config) regions() []string { return append([]string{c.Region}, c.CopyTo...) }

// Age is a span of days.
type Age time.Duration

const (
	day  = Age(24 * time.Hour)
	year = 365 * day
)

// UnmarshalText reads 90d, 12w or 2y.
func (a *Age) UnmarshalText(text []byte) error {
	word := string(text)
	units := map[byte]Age{'d': day, 'w': 7 * day, 'y': year}
	if n, err := strconv.Atoi(strings.TrimRight(word, "dwy")); err == nil && n > 0 && n < 10000 && len(word) > 1 {
		if unit, ok := units[word[len(word)-1]]; ok && word == strconv.Itoa(n)+word[len(word)-1:] {
			*a = Age(n) * unit
			return nil
		}
	}
	return fmt.Errorf("%q is not an age; write a whole number of days, weeks or years, like 90d, 12w or 2y", word)
}

// MarshalText implements encoding.TextMarshaler.
func (a Age) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// String is the age in days.
func (a Age) String() string {
	if a == 0 {
		return ""
	}
	return strconv.Itoa(int(a/day)) + "d"
}
