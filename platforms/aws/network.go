package aws

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/journal"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/ssh"
)

// shown makes a call that names something new, until that shows: codes are
// EC2's words for "there is no such thing".
func shown[T any](ctx context.Context, w *work, region, right string, codes []string, fn func(context.Context) (T, error)) (out T, err error) {
	var last error
	err = w.cloud.Poll(ctx, w.cloud.Limits.Appear, right, func(ctx context.Context) (bool, error) {
		out, last = amazon.Do(ctx, w.cloud, region, right, fn)
		if amazon.Is(last, codes...) {
			return false, nil
		}
		return last == nil, last
	})
	if err != nil && last != nil && ctx.Err() == nil && !errors.Is(err, last) {
		err = fmt.Errorf("%w (%w)", err, last)
	}
	return out, err
}

// vpc is where the instance is going to be.
func (w *work) vpc(ctx context.Context, source *amisource.Config) (string, error) {
	region := w.config.Region
	if source.Subnet != "" {
		out, err := amazon.Do(ctx, w.cloud, region, "ec2:DescribeSubnets", func(ctx context.Context) (*ec2.DescribeSubnetsOutput, error) {
			return w.cloud.EC2(region).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{source.Subnet}})
		})
		if amazon.Is(err, "InvalidSubnetID.NotFound", "InvalidSubnetId.Malformed") || err == nil && len(out.Subnets) == 0 {
			return "", fault.Errorf(fault.Input, "source.ami.subnet: %s has no subnet %s; name one of the account's in that region", region, source.Subnet)
		}
		if err != nil {
			return "", err
		}
		return aws.ToString(out.Subnets[0].VpcId), nil
	}
	out, err := amazon.Do(ctx, w.cloud, region, "ec2:DescribeVpcs", func(ctx context.Context) (*ec2.DescribeVpcsOutput, error) {
		return w.cloud.EC2(region).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}})
	})
	if err != nil {
		return "", err
	}
	if len(out.Vpcs) == 0 {
		return "", fault.Errorf(fault.Input, "%s: the account has no default VPC there, so where the instance goes has to be said; name one with source.ami.subnet", region)
	}
	return aws.ToString(out.Vpcs[0].VpcId), nil
}

// allowed are the networks that reach the instance: those that the template
// names, or the one address that is ours.
func (p *Platform) allowed(ctx context.Context, source *amisource.Config) ([]netip.Prefix, error) {
	if len(source.Allow) == 0 {
		addr, err := p.address(ctx)
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, err
	}
	list := make([]netip.Prefix, len(source.Allow))
	var err error
	for i, each := range source.Allow {
		if list[i], err = amisource.Prefix(each); err != nil {
			return nil, fault.Errorf(fault.Input, "source.ami.allow[%d]: %w", i, err)
		}
	}
	return list, nil
}

// ingress is the one hole in the group's wall.
func ingress(port int, from []netip.Prefix) []types.IpPermission {
	p := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(int32(port)), ToPort: aws.Int32(int32(port))} //nolint:gosec // validated
	for _, each := range from {
		p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: aws.String(each.String()), Description: aws.String("imagebuild")})
	}
	return []types.IpPermission{p}
}

// temporary is the name of what exists while the image is made.
func (w *work) temporary() string {
	return fmt.Sprintf("imagebuild-%s-%s-%s", w.t.Run, w.t.Platform, w.t.Arch)
}

// passing are the tags of what exists while the image is made. They say since
// when, because EC2 does not say it of everything.
func (w *work) passing(kind types.ResourceType) types.TagSpecification {
	tags := w.tags()
	tags[tagBegan] = time.Now().UTC().Format(time.RFC3339)
	return types.TagSpecification{ResourceType: kind, Tags: ec2Tags(tags)}
}

// importKey gives EC2 a key that was made for this run.
func (l *launch) importKey(ctx context.Context) error {
	region, name := l.config.Region, l.temporary()
	seed, err := ssh.NewSeed()
	if err != nil {
		return err
	}
	signer, line, err := ssh.SeedKey(seed)
	if err != nil {
		return err
	}
	l.signer, l.keyBlob = signer, strings.Fields(line)[1]
	if err := l.begin(kindKey, region); err != nil {
		return err
	}
	_, err = amazon.Do(ctx, l.cloud, region, "ec2:ImportKeyPair", func(ctx context.Context) (*ec2.ImportKeyPairOutput, error) {
		return l.cloud.EC2(region).ImportKeyPair(ctx, &ec2.ImportKeyPairInput{
			KeyName: aws.String(name), PublicKeyMaterial: []byte(line), TagSpecifications: []types.TagSpecification{l.passing(types.ResourceTypeKeyPair)},
		})
	})
	// Nobody else has a key of this run's name: an answer was lost.
	if err != nil && !amazon.Is(err, "InvalidKeyPair.Duplicate") {
		return err
	}
	return l.note(journal.Entry{Kind: kindKey, Place: region, ID: name})
}

// createGroup makes a security group that lets ssh in, from where it is allowed.
func (l *launch) createGroup(ctx context.Context) error {
	region, name := l.config.Region, l.temporary()
	vpc, err := l.vpc(ctx, l.source)
	if err != nil {
		return err
	}
	from, err := l.allowed(ctx, l.source)
	if err != nil {
		return err
	}
	if err := l.begin(kindGroup, region); err != nil {
		return err
	}
	out, err := amazon.Do(ctx, l.cloud, region, "ec2:CreateSecurityGroup", func(ctx context.Context) (*ec2.CreateSecurityGroupOutput, error) {
		return l.cloud.EC2(region).CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: aws.String(name), Description: aws.String("imagebuild: ssh while an image is made"), VpcId: aws.String(vpc),
			TagSpecifications: []types.TagSpecification{l.passing(types.ResourceTypeSecurityGroup)},
		})
	})
	switch {
	case amazon.Is(err, "InvalidGroup.Duplicate"): // an answer was lost
		if l.group, err = l.findGroup(ctx, name); err != nil {
			return err
		}
	case err != nil:
		return explainLimit(err)
	default:
		l.group = aws.ToString(out.GroupId)
	}
	if err := l.note(journal.Entry{Kind: kindGroup, Place: region, ID: l.group}); err != nil {
		return err
	}
	_, err = shown(ctx, l.work, region, "ec2:AuthorizeSecurityGroupIngress", []string{"InvalidGroup.NotFound"}, func(ctx context.Context) (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
		return l.cloud.EC2(region).AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String(l.group), IpPermissions: ingress(l.source.SSHPort, from)})
	})
	if amazon.Is(err, "InvalidPermission.Duplicate") {
		err = nil
	}
	if err == nil {
		l.task.Note("%s lets %v reach port %d", l.group, from, l.source.SSHPort)
	}
	return err
}

// findGroup waits for a group that EC2 knows and may not show yet.
func (l *launch) findGroup(ctx context.Context, name string) (id string, err error) {
	region := l.config.Region
	err = l.cloud.Poll(ctx, l.cloud.Limits.Appear, "the security group "+name, func(ctx context.Context) (bool, error) {
		out, err := amazon.Do(ctx, l.cloud, region, "ec2:DescribeSecurityGroups", func(ctx context.Context) (*ec2.DescribeSecurityGroupsOutput, error) {
			return l.cloud.EC2(region).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{{Name: aws.String("group-name"), Values: []string{name}}}})
		})
		if err != nil || len(out.SecurityGroups) == 0 {
			return false, err
		}
		id = aws.ToString(out.SecurityGroups[0].GroupId)
		return true, nil
	})
	return id, err
}
