package aws

import (
	"context"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/undo"
)

func (r *trial) check(ctx context.Context) error {
	var stack undo.Stack
	t := r.publication(&stack, nil)
	t.Disks = nil // nothing is built yet
	return r.platform().CheckPublish(ctx, t)
}

// full is a configuration that takes every right there is.
func full(c *Config) {
	c.ShareWith, c.DeprecateAfter, c.SSMParameter, c.Deregister = []string{public, "123456789012"}, 90*day, "/images/golden", Protected
}

// TestEveryRightIsAskedFor: whichever is missing, in whichever region, it is
// named before anything is made.
func TestEveryRightIsAskedFor(t *testing.T) {
	config := NewConfig()
	config.CopyTo = []string{"us-east-1"}
	full(config)
	for _, each := range config.rights() {
		if each.action == "ssm:DeleteParameter" {
			continue // there is no way to ask for it
		}
		region := "us-east-1"
		if !each.copies {
			region = "eu-west-1"
		}
		r := newRun(t, awstest.Options{Deny: []string{each.action + "@" + region}})
		full(r.config)
		err := r.check(t.Context())
		if want := region + ": the right " + each.action + " is missing for arn:aws:iam::" + awstest.Account; err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Environment {
			t.Errorf("%s: %v", each.action, err)
		}
		if left := r.server.Resources(); len(left) > 0 {
			t.Errorf("%s: asking made %q", each.action, left)
		}
	}
}

func TestCheckMakesNothing(t *testing.T) {
	r := newRun(t, awstest.Options{})
	full(r.config)
	if err := r.check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := r.server.Resources(); len(left) > 0 {
		t.Errorf("asking made %q", left)
	}
}

func TestBadInput(t *testing.T) {
	for name, tc := range map[string]struct {
		options awstest.Options
		edit    func(*testing.T, *trial)
		kind    fault.Kind
		want    string
	}{
		"no credentials": {edit: func(t *testing.T, _ *trial) {
			t.Setenv("AWS_ACCESS_KEY_ID", "")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		}, kind: fault.Environment, want: "there are no AWS credentials"},
		"a key of nobody":    {edit: func(t *testing.T, _ *trial) { t.Setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY0000000000") }, kind: fault.Environment, want: "does not accept the credentials"},
		"an expired token":   {options: awstest.Options{ExpiredToken: true}, kind: fault.Environment, want: "the AWS session is over"},
		"a region of nobody": {edit: func(_ *testing.T, r *trial) { r.config.CopyTo = []string{"eu-north-7"} }, kind: fault.Environment, want: "region eu-north-7 switched on"},
		"public access blocked": {
			options: awstest.Options{BlockPublicAccess: true}, edit: func(_ *testing.T, r *trial) { r.config.ShareWith = []string{public} },
			kind: fault.Environment, want: "the account blocks public access to AMIs",
		},
		"encrypted anyway, and public": {
			options: awstest.Options{EncryptByDefault: true}, edit: func(_ *testing.T, r *trial) { r.config.ShareWith = []string{public} },
			kind: fault.Environment, want: "the account encrypts every new snapshot",
		},
		"a disk for BIOS alone":          {edit: func(_ *testing.T, r *trial) { r.firmware = "bios" }, kind: fault.Input, want: "platforms.aws.boot_mode: the disk is made for BIOS alone"},
		"a volume smaller than the disk": {edit: func(_ *testing.T, r *trial) { r.config.VolumeSize = 1 << 29 }, kind: fault.Input, want: "smaller than the disk"},
		"a role without an identity": {edit: func(_ *testing.T, r *trial) {
			r.access = target.Access{AWSRole: "arn:aws:iam::111122223333:role/images", IDToken: func(context.Context, string) (string, error) {
				return "", fault.Errorf(fault.Input, "input aws-role: add permissions: {id-token: write}")
			}}
		}, kind: fault.Input, want: "add permissions: {id-token: write}"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, tc.options)
			if tc.edit != nil {
				tc.edit(t, r)
			}
			err := r.check(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) || fault.KindOf(err) != tc.kind {
				t.Errorf("%v: %v", fault.KindOf(err), err)
			}
			if left := r.server.Resources(); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// The name of another's image is not taken from it.
func TestNameTaken(t *testing.T) {
	r := newRun(t, awstest.Options{})
	r.mustPublish()
	r.retag = "another"
	err := r.check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "is taken by ami-") || fault.KindOf(err) != fault.Input {
		t.Errorf("%v", err)
	}
}

// A session ends and begins anew, with a token of its own each time.
func TestRoleFromTheJobsIdentity(t *testing.T) {
	const role = "arn:aws:iam::111122223333:role/images"
	r := newRun(t, awstest.Options{RoleARN: role})
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	tokens := 0
	r.access = target.Access{AWSRole: role, IDToken: func(ctx context.Context, audience string) (string, error) {
		tokens++
		return r.server.IDToken(ctx, audience)
	}}
	if err := r.check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.server.Sessions() != 1 || tokens != 1 {
		t.Errorf("%d sessions of %d tokens for one connection", r.server.Sessions(), tokens)
	}
	r.access.AWSRole = "arn:aws:iam::111122223333:role/other"
	if err := r.check(t.Context()); err == nil || !strings.Contains(err.Error(), "the role cannot be assumed by this job: AccessDenied") || fault.KindOf(err) != fault.Environment {
		t.Errorf("%v: %v", fault.KindOf(err), err)
	}
}

func TestGuests(t *testing.T) {
	const grub = "menuentry 'Linux' {\n  linux /boot/vmlinuz root=UUID=1 ro console=ttyS0,115200\n}\n"
	good := map[string]string{"boot/grub/grub.cfg": grub, "etc/fstab": "UUID=1 / ext4 defaults 0 1\n"}
	for name, tc := range map[string]struct {
		files map[string]string
		lacks map[string]string
		want  string
	}{
		"good":                       {},
		"no nvme":                    {lacks: map[string]string{"nvme": "the initramfs lacks nvme"}, want: "would not start on EC2: the initramfs lacks nvme"},
		"no ena":                     {lacks: map[string]string{"ena": "the kernel lacks ena"}, want: "lacks ena"},
		"no xen":                     {lacks: map[string]string{"xen-blkfront": "the initramfs lacks xen-blkfront"}},
		"root by name":               {files: map[string]string{"boot/grub/grub.cfg": "linux /vmlinuz root=/dev/sda1\n"}, want: "looks for the root by device name"},
		"fstab by name":              {files: map[string]string{"etc/fstab": "/dev/vda1 / ext4 defaults 0 1\n"}, want: "/etc/fstab mounts the root by the device name /dev/vda1"},
		"cloud-init for another":     {files: map[string]string{"usr/bin/cloud-init": "x", "etc/cloud/cloud.cfg.d/9.cfg": "datasource_list: [ NoCloud, None ]\n"}, want: "without Ec2"},
		"cloud-init for EC2":         {files: map[string]string{"usr/bin/cloud-init": "x", "etc/cloud/cloud.cfg.d/9.cfg": "datasource_list: [ Ec2, None ]\n"}},
		"cloud-init's default":       {files: map[string]string{"usr/bin/cloud-init": "x"}},
		"the later file of two wins": {files: map[string]string{"usr/bin/cloud-init": "x", "etc/cloud/cloud.cfg": "datasource_list: [ NoCloud ]\n", "etc/cloud/cloud.cfg.d/9.cfg": "datasource_list: [ Ec2 ]\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := testkit.Tree{Files: map[string]string{}}
			for _, from := range []map[string]string{good, tc.files} {
				for path, content := range from {
					tree.Files[path] = content
				}
			}
			err := New("aws", NewConfig()).CheckGuest(t.Context(), tree, tc.lacks, report.Discard.Begin("pack"))
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || fault.KindOf(err) != fault.Input):
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// The configuration's own rules, each broken alone.
func TestValidate(t *testing.T) {
	for want, edit := range map[string]func(*Config){
		"":                                  full,
		"copy_to[0]: eu-west-1 is there":    func(c *Config) { c.CopyTo = []string{"eu-west-1"} },
		"share_with[0]: an AMI with encr":   func(c *Config) { c.ShareWith, c.Encrypted = []string{public}, true },
		"share_with[0]: \"12\" is neither":  func(c *Config) { c.ShareWith = []string{"12"} },
		"share_with[1]: 123456789012 is":    func(c *Config) { c.ShareWith = []string{"123456789012", "123456789012"} },
		"deprecate_after: 4015d is longer":  func(c *Config) { c.DeprecateAfter = 11 * year },
		"deprecate_after: 1095d is longer":  func(c *Config) { c.DeprecateAfter, c.ShareWith = 3*year, []string{public} },
		"tpm: a NitroTPM wants":             func(c *Config) { c.TPM = true },
		"ssm_parameter: AWS keeps":          func(c *Config) { c.SSMParameter = "/aws/x" },
		"ssm_parameter: a name with a slas": func(c *Config) { c.SSMParameter = "a/b" },
		"tags.imagebuild:run: keys that":    func(c *Config) { c.Tags = map[string]string{"imagebuild:run": "x"} },
		"volume_size: 1025MiB is not":       func(c *Config) { c.VolumeSize = 1025 << 20 },
		"iops: a gp2 volume has":            func(c *Config) { c.VolumeType, c.IOPS = "gp2", 3000 },
		"iops: a volume of type io2 wants":  func(c *Config) { c.VolumeType = "io2" },
		"throughput: only gp3":              func(c *Config) { c.VolumeType, c.Throughput = "gp2", 200 },
		"kms_keys.eu-west-1: \"x\" is not":  func(c *Config) { c.Encrypted, c.KMSKeys = true, map[string]string{"eu-west-1": "x"} },
		"kms_keys.us-east-1: us-east-1 is":  func(c *Config) { c.Encrypted, c.KMSKeys = true, map[string]string{"us-east-1": "x"} },
		"kms_keys.eu-west-1: the key is in": func(c *Config) {
			c.Encrypted, c.KMSKeys = true, map[string]string{"eu-west-1": "arn:aws:kms:us-east-1:123456789012:key/1"}
		},
		"kms_keys.eu-west-1: a key wants e": func(c *Config) {
			c.KMSKeys = map[string]string{"eu-west-1": "arn:aws:kms:eu-west-1:123456789012:key/1"}
		},
	} {
		c := NewConfig()
		c.Region = "eu-west-1"
		edit(c)
		var faults faultList
		c.Validate(&faults)
		if want == "" && len(faults) == 0 {
			continue
		}
		if len(faults) != 1 || want == "" || !strings.HasPrefix(faults[0], want) {
			t.Errorf("%q: %q", want, faults)
		}
	}
	for text, want := range map[string]Age{"90d": 90 * day, "2w": 14 * day, "1y": year, "0d": 0, "d": 0, "5": 0, "-1d": 0, "5dd": 0, "1.5y": 0, "99999d": 0} {
		var a Age
		if err := a.UnmarshalText([]byte(text)); (err == nil) != (want > 0) || a != want {
			t.Errorf("%s: %v, %v", text, a, err)
		}
	}
}

// A policy names every right once where it is used, and no star but where EC2
// knows no resource.
func TestPolicy(t *testing.T) {
	c := NewConfig()
	c.Region, c.Encrypted = "eu-west-1", true
	c.KMSKeys = map[string]string{"eu-west-1": "arn:aws:kms:eu-west-1:123456789012:key/1"}
	full(c)
	text, err := New("aws", c).Policy()
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range c.rights() {
		if !strings.Contains(string(text), `"`+each.action+`"`) {
			t.Errorf("%s is not in the policy", each.action)
		}
	}
	if n := strings.Count(string(text), `"*"`); n != 2 { // of Look, and in a condition
		t.Errorf("%d stars:\n%s", n, text)
	}
}
