package aws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/ebsdirect"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/target"
)

// Ids that are well-formed and of nothing: what is asked about them shows
// whether we might.
const (
	noImage    = "ami-00000000000000000"
	noSnapshot = "snap-00000000000000000"
	noInstance = "i-00000000000000000"
	noGroup    = "sg-00000000000000000"
	noKey      = "imagebuild-asks-beforehand"
)

// CheckPublish finds out, without making anything, whether publishing can
// work: the credentials, every right in every region, the account's settings,
// and whether the name is free or the AMI there already.
func (p *Platform) CheckPublish(ctx context.Context, t target.Publication) error {
	if err := p.fits(t); err != nil {
		return err
	}
	cloud, err := p.open(ctx, t.Access)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	w := &work{Platform: p, cloud: cloud, t: t}
	if err := w.checkRights(ctx, p.config.rights()); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	for _, region := range p.config.regions() {
		if err := w.settings(ctx, region); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// checkRights asks for rights, each where it is needed, and names all that are
// missing.
func (w *work) checkRights(ctx context.Context, rights []right) error {
	var mu sync.Mutex
	var errs []error
	group := errgroup.Group{}
	group.SetLimit(8)
	for _, region := range w.config.regions() {
		for _, r := range rights {
			if region == w.config.Region && !r.home || region != w.config.Region && !r.copies {
				continue
			}
			group.Go(func() error {
				if err := w.probe(ctx, region, r); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
				return ctx.Err()
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return errors.Join(sorted(errs)...)
}

// sorted makes a report that does not depend on who was first, and says what
// is said of everything (no network, a session that is over) once.
func sorted(errs []error) []error {
	slices.SortFunc(errs, func(a, b error) int { return bytes.Compare([]byte(a.Error()), []byte(b.Error())) })
	return slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })
}

// fits refuses what cannot be known from the platform's section alone.
func (p *Platform) fits(t target.Publication) error {
	c := &p.config
	switch {
	case t.Firmware == "bios" && c.BootMode != BootBIOS:
		return fault.Errorf(fault.Input, "platforms.%s.boot_mode: the disk is made for BIOS alone (disk.firmware: bios), so %s would not start; set boot_mode: legacy-bios", p.name, c.BootMode)
	case t.Firmware == "uefi" && c.BootMode != BootUEFI:
		return fault.Errorf(fault.Input, "platforms.%s.boot_mode: the disk is made for UEFI alone (disk.firmware: uefi), so %s may not start; set boot_mode: uefi", p.name, c.BootMode)
	case t.Arch == "arm64" && c.BootMode != BootUEFI:
		return fault.Errorf(fault.Input, "platforms.%s.boot_mode: arm64 instances start with UEFI alone; set boot_mode: uefi", p.name)
	case c.VolumeSize != 0 && int64(c.VolumeSize) < t.DiskBytes:
		return fault.Errorf(fault.Input, "platforms.%s.volume_size: %s is smaller than the disk; leave it out or make it larger", p.name, c.VolumeSize)
	}
	return p.fitsName(t)
}

func (p *Platform) fitsName(t target.Publication) error {
	if name := p.imageName(t); len(name) > 128 {
		return fault.Errorf(fault.Input, "platforms.%s: the AMI's name %q has %d characters, and EC2 takes 128; set ami_name", p.name, name, len(name))
	}
	return nil
}

// probe asks for one right.
func (w *work) probe(ctx context.Context, region string, r right) error {
	_, err := amazon.Do(ctx, w.cloud, region, r.action, func(ctx context.Context) (struct{}, error) {
		err := w.ask(ctx, region, r.action)
		switch {
		case err == nil, amazon.Is(err, "DryRunOperation"):
			return struct{}{}, nil
		case amazon.Denied(err), amazon.Code(err) == "", amazon.Retryable(err), hopeless(err):
			return struct{}{}, err
		}
		// Refused for what does not exist or does not fit: so we might have.
		return struct{}{}, nil
	})
	return err
}

// hopeless: no call at all would work.
func hopeless(err error) bool {
	return amazon.Is(err, "AuthFailure", "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
		"InvalidSignatureException", "OptInRequired", "Blocked")
}

// ask makes the call that shows whether an action is allowed, by DryRun where
// there is one, and by something that cannot succeed where there is none.
func (w *work) ask(ctx context.Context, region, action string) (err error) {
	dry, ec2c, ebsc, ssmc := aws.Bool(true), w.cloud.EC2(region), w.cloud.EBS(region), w.cloud.SSM(region)
	switch action {
	case "ec2:DescribeImages":
		_, err = ec2c.DescribeImages(ctx, &ec2.DescribeImagesInput{DryRun: dry, Owners: []string{"self"}})
	case "ec2:DescribeSnapshots":
		_, err = ec2c.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{DryRun: dry, OwnerIds: []string{"self"}})
	case "ec2:RegisterImage":
		in := w.registration(noSnapshot)
		in.DryRun = dry
		_, err = ec2c.RegisterImage(ctx, in)
	case "ec2:CopyImage":
		in := w.copying(region, noImage)
		in.DryRun = dry
		_, err = ec2c.CopyImage(ctx, in)
	case "ec2:CreateTags":
		_, err = ec2c.CreateTags(ctx, &ec2.CreateTagsInput{DryRun: dry, Resources: []string{noImage}, Tags: []types.Tag{{Key: aws.String(tagState), Value: aws.String("")}}})
	case "ec2:DeregisterImage":
		_, err = ec2c.DeregisterImage(ctx, &ec2.DeregisterImageInput{DryRun: dry, ImageId: aws.String(noImage)})
	case "ec2:DeleteSnapshot":
		_, err = ec2c.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{DryRun: dry, SnapshotId: aws.String(noSnapshot)})
	case "ec2:ModifyImageAttribute":
		_, err = ec2c.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{DryRun: dry, ImageId: aws.String(noImage), LaunchPermission: &types.LaunchPermissionModifications{Add: w.permissions()}})
	case "ec2:GetImageBlockPublicAccessState":
		_, err = ec2c.GetImageBlockPublicAccessState(ctx, &ec2.GetImageBlockPublicAccessStateInput{DryRun: dry})
	case "ec2:GetEbsEncryptionByDefault":
		_, err = ec2c.GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{DryRun: dry})
	case "ec2:EnableImageDeprecation":
		_, err = ec2c.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{DryRun: dry, ImageId: aws.String(noImage), DeprecateAt: aws.Time(w.deprecation())})
	case "ec2:EnableImageDeregistrationProtection":
		_, err = ec2c.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{DryRun: dry, ImageId: aws.String(noImage)})
	case "ec2:DisableImageDeregistrationProtection":
		_, err = ec2c.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{DryRun: dry, ImageId: aws.String(noImage)})
	case "ebs:StartSnapshot": // a parent that does not exist
		_, err = ebsc.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ParentSnapshotId: aws.String(noSnapshot)})
	case "ebs:PutSnapshotBlock":
		block := make([]byte, ebsdirect.BlockBytes)
		digest := sha256.Sum256(block)
		_, err = ebsc.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId: aws.String(noSnapshot), BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(block), DataLength: aws.Int32(ebsdirect.BlockBytes),
			Checksum: aws.String(base64.StdEncoding.EncodeToString(digest[:])), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
	case "ebs:CompleteSnapshot":
		_, err = ebsc.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: aws.String(noSnapshot), ChangedBlocksCount: aws.Int32(0)})
	case "ssm:GetParameter":
		_, err = ssmc.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(w.config.SSMParameter)})
	case "ssm:PutParameter": // a value that its own pattern does not allow
		_, err = ssmc.PutParameter(ctx, &ssm.PutParameterInput{
			Name: aws.String(w.config.SSMParameter), Value: aws.String("probe"), Type: ssmtypes.ParameterTypeString, AllowedPattern: aws.String("^never$"), Overwrite: aws.Bool(true),
		})
	case "ssm:DeleteParameter":
		return nil // there is no way to ask for it
	default:
		return w.askInstance(ctx, region, action)
	}
	return err
}

// settings looks at what the account or its images have against it.
func (w *work) settings(ctx context.Context, region string) error {
	if slices.Contains(w.config.ShareWith, public) {
		out, err := amazon.Do(ctx, w.cloud, region, "ec2:GetImageBlockPublicAccessState", func(ctx context.Context) (*ec2.GetImageBlockPublicAccessStateOutput, error) {
			return w.cloud.EC2(region).GetImageBlockPublicAccessState(ctx, &ec2.GetImageBlockPublicAccessStateInput{})
		})
		if err != nil {
			return err
		}
		if aws.ToString(out.ImageBlockPublicAccessState) != "unblocked" {
			return fault.Errorf(fault.Environment, "%s: the account blocks public access to AMIs, so share_with: public cannot work; switch the block off in that region, or share with accounts", region)
		}
		encryption, err := amazon.Do(ctx, w.cloud, region, "ec2:GetEbsEncryptionByDefault", func(ctx context.Context) (*ec2.GetEbsEncryptionByDefaultOutput, error) {
			return w.cloud.EC2(region).GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{})
		})
		if err != nil {
			return err
		}
		if aws.ToBool(encryption.EbsEncryptionByDefault) {
			return fault.Errorf(fault.Environment, "%s: the account encrypts every new snapshot, so share_with: public cannot work; switch encryption by default off in that region, or share with accounts", region)
		}
	}
	_, err := w.findImage(ctx, region)
	return err
}
