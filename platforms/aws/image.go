package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/journal"
)

// findImage looks for our AMI by its name; nil when there is none. A stranger
// of that name is an error.
func (w *work) findImage(ctx context.Context, region string) (*ami, error) {
	out, err := w.describe(ctx, region, &ec2.DescribeImagesInput{
		Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true), Filters: []types.Filter{{Name: aws.String("name"), Values: []string{w.imageName(w.t)}}},
	})
	if err != nil || len(out) == 0 {
		return nil, err
	}
	found := out[0]
	if tagsOf(found.Tags)[tagCell] != w.t.CellDigest {
		return nil, fault.Errorf(fault.Input, "%s: the name %q is taken by %s, which is not of this plan; set ami_name, raise the version, or deregister it", region, w.imageName(w.t), aws.ToString(found.ImageId))
	}
	if found.State == types.ImageStateFailed || found.State == types.ImageStateError || found.State == types.ImageStateInvalid {
		return nil, fault.Errorf(fault.Remote, "%s: %s of this plan is there and %s; deregister it (or run: imagebuild gc --platform aws), and build again", region, aws.ToString(found.ImageId), found.State)
	}
	return seen(region, found), nil
}

func (w *work) describe(ctx context.Context, region string, in *ec2.DescribeImagesInput) ([]types.Image, error) {
	out, err := amazon.Do(ctx, w.cloud, region, "ec2:DescribeImages", func(ctx context.Context) (*ec2.DescribeImagesOutput, error) {
		return w.cloud.EC2(region).DescribeImages(ctx, in)
	})
	if err != nil {
		return nil, err
	}
	return out.Images, nil
}

// seen turns EC2's description into ours.
func seen(region string, from types.Image) *ami {
	tags := tagsOf(from.Tags)
	a := &ami{
		region: region, id: aws.ToString(from.ImageId), done: tags[tagState] == stateDone, disk: tags[tagDisk], protection: aws.ToString(from.DeregistrationProtection),
	}
	a.created, _ = time.Parse(time.RFC3339, aws.ToString(from.CreationDate)) // zero for what EC2 does not say
	for _, each := range from.BlockDeviceMappings {
		if aws.ToString(each.DeviceName) == aws.ToString(from.RootDeviceName) && each.Ebs != nil {
			a.snapshot = aws.ToString(each.Ebs.SnapshotId)
		}
	}
	return a
}

// registration is the call that makes a snapshot an AMI. Without a word EC2
// would take it for a 32-bit paravirtual one.
func (w *work) registration(snapshot string) *ec2.RegisterImageInput {
	c := &w.config
	volume := &types.EbsBlockDevice{SnapshotId: aws.String(snapshot), VolumeType: types.VolumeType(c.VolumeType), DeleteOnTermination: aws.Bool(true)}
	if c.VolumeSize > 0 {
		volume.VolumeSize = aws.Int32(int32(wholeGiB(int64(c.VolumeSize)))) //nolint:gosec // validated
	}
	if c.IOPS > 0 {
		volume.Iops = aws.Int32(int32(c.IOPS)) //nolint:gosec // validated
	}
	if c.Throughput > 0 {
		volume.Throughput = aws.Int32(int32(c.Throughput)) //nolint:gosec // validated
	}
	in := &ec2.RegisterImageInput{
		Name: aws.String(w.imageName(w.t)), Description: aws.String(w.description()), Architecture: architecture(w.t.Arch),
		VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true), BootMode: types.BootModeValues(c.BootMode),
		RootDeviceName:      aws.String(c.RootDevice),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String(c.RootDevice), Ebs: volume}},
		TagSpecifications:   []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: w.ec2Tags()}},
	}
	if w.t.Arch == "amd64" {
		in.SriovNetSupport = aws.String("simple") // the network cards of types before ENA
	}
	if c.IMDS == "v2" {
		in.ImdsSupport = types.ImdsSupportValuesV20
	}
	if c.TPM {
		in.TpmSupport = types.TpmSupportValuesV20
	}
	return in
}

func architecture(arch string) types.ArchitectureValues {
	if arch == "arm64" {
		return types.ArchitectureValuesArm64
	}
	return types.ArchitectureValuesX8664
}

// register makes the AMI. The call has no token, so a second attempt after a
// lost answer finds the name taken: by us.
func (w *work) register(ctx context.Context, snapshot string) (*ami, error) {
	region := w.config.Region
	if err := w.begin(kindImage, region); err != nil {
		return nil, err
	}
	out, err := amazon.Do(ctx, w.cloud, region, "ec2:RegisterImage", func(ctx context.Context) (*ec2.RegisterImageOutput, error) {
		return w.cloud.EC2(region).RegisterImage(ctx, w.registration(snapshot))
	})
	if amazon.Is(err, "InvalidAMIName.Duplicate") {
		return w.ours(ctx, region, err)
	}
	if err != nil {
		return nil, err
	}
	made := &ami{region: region, id: aws.ToString(out.ImageId), snapshot: snapshot}
	return made, w.note(journal.Entry{Kind: kindImage, Place: region, ID: made.id})
}

// ours waits for an image of our name that EC2 knows and does not show yet.
func (w *work) ours(ctx context.Context, region string, cause error) (found *ami, err error) {
	err = w.cloud.Poll(ctx, w.cloud.Limits.Appear, "the image that has the name already", func(ctx context.Context) (bool, error) {
		found, err = w.findImage(ctx, region)
		return found != nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", err, cause)
	}
	images, err := w.describe(ctx, region, &ec2.DescribeImagesInput{ImageIds: []string{found.id}})
	if err == nil && len(images) > 0 && tagsOf(images[0].Tags)[tagRun] == w.t.Run {
		err = w.note(journal.Entry{Kind: kindImage, Place: region, ID: found.id})
	}
	return found, err
}

// copying is the call that copies the AMI to a region; it is called there.
func (w *work) copying(region, source string) *ec2.CopyImageInput {
	token := sha256.Sum256([]byte(w.t.Run + " " + w.t.CellDigest + " " + region))
	in := &ec2.CopyImageInput{
		Name: aws.String(w.imageName(w.t)), Description: aws.String(w.description()), SourceImageId: aws.String(source), SourceRegion: aws.String(w.config.Region),
		ClientToken: aws.String(fmt.Sprintf("%x", token[:16])),
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeImage, Tags: w.ec2Tags()}, {ResourceType: types.ResourceTypeSnapshot, Tags: w.ec2Tags()},
		},
	}
	if w.config.Encrypted {
		in.Encrypted = aws.Bool(true)
	}
	if key := w.config.KMSKeys[region]; key != "" {
		in.KmsKeyId = aws.String(key)
	}
	return in
}

// copyTo makes the AMI in another region, or finds it there.
func (w *work) copyTo(ctx context.Context, region, source string) (*ami, error) {
	found, err := w.findImage(ctx, region)
	if err != nil {
		return nil, err
	}
	if found != nil {
		w.task.Note("%s: %s is there already: %s", region, w.imageName(w.t), found.id)
		return w.ready(ctx, found)
	}
	for _, kind := range []string{kindImage, kindSnapshot} {
		if err := w.begin(kind, region); err != nil {
			return nil, err
		}
	}
	out, err := amazon.Do(ctx, w.cloud, region, "ec2:CopyImage", func(ctx context.Context) (*ec2.CopyImageOutput, error) {
		return w.cloud.EC2(region).CopyImage(ctx, w.copying(region, source))
	})
	if amazon.Is(err, "InvalidAMIName.Duplicate") {
		found, err := w.ours(ctx, region, err)
		if err != nil {
			return nil, err
		}
		return w.ready(ctx, found)
	}
	if err != nil {
		return nil, err
	}
	made := &ami{region: region, id: aws.ToString(out.ImageId)}
	if err := w.note(journal.Entry{Kind: kindImage, Place: region, ID: made.id}); err != nil {
		return nil, err
	}
	return w.whole(ctx, made)
}

// whole waits until an image can be used whose snapshot EC2 makes with it: that
// is noted as soon as it is known.
func (w *work) whole(ctx context.Context, made *ami) (*ami, error) {
	made, err := w.ready(ctx, made)
	if err != nil || made.snapshot == "" {
		return made, err
	}
	return made, w.note(journal.Entry{Kind: kindSnapshot, Place: made.region, ID: made.snapshot})
}

// ready waits until an image can be used.
func (w *work) ready(ctx context.Context, a *ami) (*ami, error) {
	begun := time.Now()
	var now *ami
	err := w.cloud.Poll(ctx, w.cloud.Limits.Settle, "image "+a.id+" in "+a.region, func(ctx context.Context) (bool, error) {
		images, err := w.describe(ctx, a.region, &ec2.DescribeImagesInput{ImageIds: []string{a.id}})
		switch {
		case (amazon.Is(err, "InvalidAMIID.NotFound") || err == nil && len(images) == 0) && time.Since(begun) < w.cloud.Limits.Appear:
			return false, nil // not everywhere yet
		case err != nil:
			return false, err
		case len(images) == 0:
			return false, fault.Errorf(fault.Remote, "%s: %s has vanished; run the build again", a.region, a.id)
		}
		now = seen(a.region, images[0])
		switch images[0].State {
		case types.ImageStateAvailable:
			return true, nil
		case types.ImageStatePending, types.ImageStateTransient:
			return false, nil
		}
		why := "it does not say why"
		if images[0].StateReason != nil {
			why = cmp.Or(aws.ToString(images[0].StateReason.Message), why)
		}
		return false, fault.Errorf(fault.Remote, "%s: EC2 gave up image %s (%s): %s; run the build again", a.region, a.id, images[0].State, why)
	})
	return now, err
}
