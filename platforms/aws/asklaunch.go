package aws

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/fault"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/ssh"
)

// askInstance makes the call that shows whether an action with instances is
// allowed: all of them have a DryRun.
func (w *work) askInstance(ctx context.Context, region, action string) (err error) {
	dry, c := aws.Bool(true), w.cloud.EC2(region)
	nobody := []string{noInstance}
	switch action {
	case "ec2:DescribeVpcs":
		_, err = c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{DryRun: dry})
	case "ec2:DescribeSubnets":
		_, err = c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{DryRun: dry})
	case "ec2:DescribeInstances":
		_, err = c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{DryRun: dry})
	case "ec2:DescribeSecurityGroups":
		_, err = c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{DryRun: dry})
	case "ec2:DescribeKeyPairs":
		_, err = c.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{DryRun: dry})
	case "ec2:ImportKeyPair":
		return w.askKey(ctx, c)
	case "ec2:CreateSecurityGroup":
		_, err = c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			DryRun: dry, GroupName: aws.String(noKey), Description: aws.String("imagebuild"), TagSpecifications: []types.TagSpecification{w.passing(types.ResourceTypeSecurityGroup)},
		})
	case "ec2:AuthorizeSecurityGroupIngress":
		_, err = c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{DryRun: dry, GroupId: aws.String(noGroup), IpPermissions: ingress(22, nil)})
	case "ec2:RunInstances":
		in := w.running(amisource.New(), types.Image{ImageId: aws.String(w.from), RootDeviceName: aws.String(w.config.RootDevice)}, forTests)
		in.DryRun = dry
		_, err = c.RunInstances(ctx, in)
	case "ec2:GetConsoleOutput":
		_, err = c.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{DryRun: dry, InstanceId: aws.String(noInstance)})
	case "ec2:StopInstances":
		_, err = c.StopInstances(ctx, &ec2.StopInstancesInput{DryRun: dry, InstanceIds: nobody})
	case "ec2:CreateImage":
		_, err = c.CreateImage(ctx, &ec2.CreateImageInput{DryRun: dry, InstanceId: aws.String(noInstance), Name: aws.String(w.imageName(w.t))})
	case "ec2:TerminateInstances":
		_, err = c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{DryRun: dry, InstanceIds: nobody})
	case "ec2:DeleteSecurityGroup":
		_, err = c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{DryRun: dry, GroupId: aws.String(noGroup)})
	case "ec2:DeleteKeyPair":
		_, err = c.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{DryRun: dry, KeyName: aws.String(noKey)})
	default:
		return fault.Errorf(fault.Bug, "nobody knows how to ask for %s", action)
	}
	return err
}

func (w *work) askKey(ctx context.Context, c *ec2.Client) error {
	seed, err := ssh.NewSeed()
	if err != nil {
		return err
	}
	_, line, err := ssh.SeedKey(seed)
	if err != nil {
		return err
	}
	_, err = c.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{
		DryRun: aws.Bool(true), KeyName: aws.String(noKey), PublicKeyMaterial: []byte(line), TagSpecifications: []types.TagSpecification{w.passing(types.ResourceTypeKeyPair)},
	})
	return err
}

// tryLaunch asks EC2 about the very instance that is going to be started. Its
// answer is an error in either case.
func (w *work) tryLaunch(ctx context.Context, source *amisource.Config, image types.Image) error {
	region := w.config.Region
	in := w.running(source, image, forSteps)
	in.DryRun = aws.Bool(true)
	if source.Subnet != "" {
		in.SubnetId = aws.String(source.Subnet)
	}
	_, err := amazon.Do(ctx, w.cloud, region, "ec2:RunInstances", func(ctx context.Context) (*ec2.RunInstancesOutput, error) {
		return w.cloud.EC2(region).RunInstances(ctx, in)
	})
	if amazon.Is(err, "DryRunOperation") {
		return nil
	}
	return explainLimit(err)
}
