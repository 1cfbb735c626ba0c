package aws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/size"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/target"
)

// sourceOf is the template's source, which has to be ours.
func sourceOf(source any) (*amisource.Config, error) {
	c, ok := source.(*amisource.Config)
	if !ok {
		return nil, fault.Errorf(fault.Bug, "an instance cannot be launched of a %T", source)
	}
	return c, nil
}

// Origin looks for the AMI that the template's source names, as it is now.
func (p *Platform) Origin(ctx context.Context, t target.Launch) (target.Origin, error) {
	source, err := sourceOf(t.Source)
	if err != nil {
		return target.Origin{}, err
	}
	cloud, err := p.open(ctx, t.Access)
	if err != nil {
		return target.Origin{}, fmt.Errorf("%s: %w", p.name, err)
	}
	w := &work{Platform: p, cloud: cloud, t: t.Publication}
	var found types.Image
	if source.ID != "" {
		found, err = w.origin(ctx, source.ID)
	} else {
		found, err = w.newest(ctx, source)
	}
	if err != nil {
		return target.Origin{}, err
	}
	o := target.Origin{ID: aws.ToString(found.ImageId), Name: aws.ToString(found.Name)}
	o.Created, _ = time.Parse(time.RFC3339, aws.ToString(found.CreationDate)) // zero for what EC2 does not say
	return o, nil
}

// origin is the AMI of an id, if an instance of it can be launched and become
// an AMI again.
func (w *work) origin(ctx context.Context, id string) (types.Image, error) {
	region := w.config.Region
	images, err := w.describe(ctx, region, &ec2.DescribeImagesInput{ImageIds: []string{id}})
	switch {
	case amazon.Is(err, "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidAMIID.Malformed"), err == nil && len(images) == 0:
		return types.Image{}, fault.Errorf(fault.Input, "source.ami.id: %s has no AMI %s, or not for this account; an id is of one region, so give that of this one, or owner and name", region, id)
	case err != nil:
		return types.Image{}, err
	}
	if why := w.unfit(images[0]); why != "" {
		return types.Image{}, fault.Errorf(fault.Input, "source.ami: %s (%s) in %s %s", id, aws.ToString(images[0].Name), region, why)
	}
	return images[0], nil
}

// newest is the youngest AMI that fits the source's owner and name.
func (w *work) newest(ctx context.Context, source *amisource.Config) (types.Image, error) {
	region := w.config.Region
	images, err := w.describe(ctx, region, &ec2.DescribeImagesInput{
		Owners: []string{source.Owner}, Filters: []types.Filter{
			{Name: aws.String("name"), Values: []string{source.Name}}, {Name: aws.String("state"), Values: []string{"available"}},
		},
	})
	if err != nil {
		return types.Image{}, err
	}
	why := ""
	fit := slices.DeleteFunc(slices.Clone(images), func(i types.Image) bool {
		each := w.unfit(i)
		why = cmp.Or(each, why)
		return each != ""
	})
	if len(fit) > 0 {
		return slices.MaxFunc(fit, func(a, b types.Image) int {
			return cmp.Or(cmp.Compare(aws.ToString(a.CreationDate), aws.ToString(b.CreationDate)), cmp.Compare(aws.ToString(a.ImageId), aws.ToString(b.ImageId)))
		}), nil
	}
	if len(images) > 0 {
		return types.Image{}, fault.Errorf(fault.Input, "source.ami.name: %s has %d AMIs named %s of %s, and none that fits: one %s", region, len(images), source.Name, source.Owner, why)
	}
	return types.Image{}, fault.Errorf(fault.Input, "source.ami.name: %s has no AMI named %s of %s; see what there is with: aws ec2 describe-images --region %s --owners %s --query 'Images[].Name'",
		region, source.Name, source.Owner, region, source.Owner)
}

// unfit says what is wrong with an AMI to start from.
func (w *work) unfit(i types.Image) string {
	volumes := 0
	for _, each := range i.BlockDeviceMappings {
		if each.Ebs != nil {
			volumes++
		}
	}
	want := architecture(w.t.Arch)
	switch {
	case i.State != types.ImageStateAvailable:
		return fmt.Sprintf("is %s; take another, or wait until it is available", i.State)
	case i.Architecture != want:
		return fmt.Sprintf("is for %s, and the platform is for %s (%s)", i.Architecture, w.t.Arch, want)
	case i.VirtualizationType != types.VirtualizationTypeHvm:
		return fmt.Sprintf("is for the virtualization type %s, which no current instance has; take one of hvm", i.VirtualizationType)
	case i.RootDeviceType != types.DeviceTypeEbs:
		return fmt.Sprintf("has a root device of type %s, of which no AMI can be made; take one of ebs", i.RootDeviceType)
	case strings.EqualFold(string(i.Platform), "windows"):
		return "is of Windows, whose instances are not entered by ssh"
	case volumes > 1:
		return fmt.Sprintf("has %d volumes; an image has one here", volumes)
	}
	return ""
}

// rootBytes is the size of an AMI's root volume; zero if it does not say.
func rootBytes(i types.Image) int64 {
	for _, each := range i.BlockDeviceMappings {
		if each.Ebs != nil && aws.ToString(each.DeviceName) == aws.ToString(i.RootDeviceName) {
			return int64(aws.ToInt32(each.Ebs.VolumeSize)) * int64(size.GiB)
		}
	}
	return 0
}

// accounts are the users that distributions make for the instance's key, by a
// word of the AMI's name; all others make ec2-user.
var accounts = []struct{ word, user string }{ //nolint:gochecknoglobals // a constant table
	{"debian", "admin"}, {"ubuntu", "ubuntu"}, {"fedora", "fedora"}, {"rocky", "rocky"}, {"centos", "centos"}, {"opensuse", "ec2-user"}, {"freebsd", "ec2-user"},
}

const defaultUser = "ec2-user"

// userOf is whom to log in as.
func userOf(source *amisource.Config, name string) string {
	if source.User != "" {
		return source.User
	}
	for _, each := range accounts {
		if strings.Contains(strings.ToLower(name), each.word) {
			return each.user
		}
	}
	return defaultUser
}

// instanceType is what the steps run on.
func (w *work) instanceType(source *amisource.Config) types.InstanceType {
	usual := "t3.small"
	if w.t.Arch == "arm64" {
		usual = "t4g.small"
	}
	return types.InstanceType(cmp.Or(source.InstanceType, usual))
}
