package aws

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/journal"
)

// machineKinds are what exists only while an image is made of an instance, in
// the order in which they can go: a group goes when no instance has it.
var machineKinds = []string{kindInstance, kindGroup, kindKey} //nolint:gochecknoglobals // a constant list

func isMachine(e journal.Entry) bool { return slices.Contains(machineKinds, e.Kind) }

// hasMachines tells whether the run may have made any in a region. Who only
// publishes disks need not have the rights to look.
func (b *broom) hasMachines(region string) bool {
	return slices.ContainsFunc(slices.Concat(b.made, b.maybe), func(e journal.Entry) bool { return e.Place == region && isMachine(e) })
}

// machines ends a run's instances, and removes what was around them, until
// nothing shows any more.
func (b *broom) machines(ctx context.Context, region string) error {
	m := &machineRound{broom: b, region: region, ids: map[string][]string{}, ending: map[string]bool{}}
	for _, kind := range machineKinds {
		m.ids[kind] = b.ids(kind, region)
	}
	unsure := slices.ContainsFunc(b.maybe, func(e journal.Entry) bool { return e.Place == region && isMachine(e) })
	return b.rounds(ctx, region, unsure, func(ctx context.Context) (removed, left, unseen int, err error) {
		removed, left, err = m.do(ctx)
		return removed, left, len(m.ids[kindInstance]) + len(m.ids[kindGroup]) + len(m.ids[kindKey]), err
	})
}

// machineRound is what several looks remember.
type machineRound struct {
	*broom
	region string
	ids    map[string][]string // by kind: what is to go
	ending map[string]bool     // instances that were told to
}

// do removes what it sees. left counts what is there and could not go yet.
func (m *machineRound) do(ctx context.Context) (removed, left int, err error) {
	instances, err := m.instances(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, each := range instances {
		id := aws.ToString(each.InstanceId)
		if !m.ending[id] {
			m.ids[kindInstance] = add(m.ids[kindInstance], id)
		} else if !m.dry {
			left++ // it takes its time
		}
	}
	groups, err := m.groups(ctx)
	if err != nil {
		return 0, 0, err
	}
	m.ids[kindGroup] = add(m.ids[kindGroup], groups...)
	keys, err := m.keys(ctx)
	if err != nil {
		return 0, 0, err
	}
	m.ids[kindKey] = add(m.ids[kindKey], keys...)
	for _, kind := range []struct {
		name   string
		remove func(ctx context.Context, id string) (bool, error)
	}{{kindInstance, m.terminate}, {kindGroup, m.deleteGroup}, {kindKey, m.deleteKey}} {
		for _, id := range slices.Clone(m.ids[kind.name]) {
			gone, err := kind.remove(ctx, id)
			switch {
			case amazon.Is(err, "DependencyViolation", "InvalidGroup.InUse"):
				left++
			case err != nil:
				return removed, left, err
			case gone:
				removed++
				m.ids[kind.name] = drop(m.ids[kind.name], id)
				m.note(kind.name, m.region, id)
				if err := m.away(journal.Entry{Kind: kind.name, Place: m.region, ID: id}); err != nil {
					return removed, left, err
				}
			}
		}
	}
	return removed, left, nil
}

func (m *machineRound) byTag() types.Filter {
	return types.Filter{Name: aws.String("tag:" + tagRun), Values: []string{m.run}}
}

// living are the states of an instance that is there.
var living = types.Filter{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "shutting-down", "stopping", "stopped"}} //nolint:gochecknoglobals // a constant

// instances are those of the run that are there, or are going.
func (m *machineRound) instances(ctx context.Context) ([]types.Instance, error) {
	all, err := describeInstances(ctx, m.cloud, m.region, m.byTag(), living)
	return slices.DeleteFunc(all, func(i types.Instance) bool { // it goes without us
		going := i.State != nil && i.State.Name == types.InstanceStateNameShuttingDown
		m.ending[aws.ToString(i.InstanceId)] = m.ending[aws.ToString(i.InstanceId)] || going
		return going && m.dry
	}), err
}

func describeInstances(ctx context.Context, cloud *amazon.Cloud, region string, filters ...types.Filter) ([]types.Instance, error) {
	var all []types.Instance
	pages := ec2.NewDescribeInstancesPaginator(cloud.EC2(region), &ec2.DescribeInstancesInput{Filters: filters})
	for pages.HasMorePages() {
		out, err := amazon.Do(ctx, cloud, region, "ec2:DescribeInstances", func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return nil, err
		}
		for _, each := range out.Reservations {
			all = append(all, each.Instances...)
		}
	}
	return all, nil
}

func (m *machineRound) groups(ctx context.Context) ([]string, error) {
	all, err := describeGroups(ctx, m.cloud, m.region, m.byTag())
	var ids []string
	for _, each := range all {
		ids = append(ids, aws.ToString(each.GroupId))
	}
	return ids, err
}

func describeGroups(ctx context.Context, cloud *amazon.Cloud, region string, filters ...types.Filter) ([]types.SecurityGroup, error) {
	var all []types.SecurityGroup
	pages := ec2.NewDescribeSecurityGroupsPaginator(cloud.EC2(region), &ec2.DescribeSecurityGroupsInput{Filters: filters})
	for pages.HasMorePages() {
		out, err := amazon.Do(ctx, cloud, region, "ec2:DescribeSecurityGroups", func(ctx context.Context) (*ec2.DescribeSecurityGroupsOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return nil, err
		}
		all = append(all, out.SecurityGroups...)
	}
	return all, nil
}

func (m *machineRound) keys(ctx context.Context) ([]string, error) {
	all, err := describeKeys(ctx, m.cloud, m.region, m.byTag())
	var names []string
	for _, each := range all {
		names = append(names, aws.ToString(each.KeyName))
	}
	return names, err
}

func describeKeys(ctx context.Context, cloud *amazon.Cloud, region string, filters ...types.Filter) ([]types.KeyPairInfo, error) {
	out, err := amazon.Do(ctx, cloud, region, "ec2:DescribeKeyPairs", func(ctx context.Context) (*ec2.DescribeKeyPairsOutput, error) {
		return cloud.EC2(region).DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: filters})
	})
	if err != nil {
		return nil, err
	}
	return out.KeyPairs, nil
}

// terminate reports whether the instance goes; what does not show yet does not.
func (m *machineRound) terminate(ctx context.Context, id string) (bool, error) {
	if m.dry {
		return true, nil
	}
	_, err := amazon.Do(ctx, m.cloud, m.region, "ec2:TerminateInstances", func(ctx context.Context) (*ec2.TerminateInstancesOutput, error) {
		return m.cloud.EC2(m.region).TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	})
	if amazon.Is(err, ended...) {
		return false, nil
	}
	m.ending[id] = err == nil
	return err == nil, err
}

func (m *machineRound) deleteGroup(ctx context.Context, id string) (bool, error) {
	if m.dry {
		return true, nil
	}
	_, err := amazon.Do(ctx, m.cloud, m.region, "ec2:DeleteSecurityGroup", func(ctx context.Context) (*ec2.DeleteSecurityGroupOutput, error) {
		return m.cloud.EC2(m.region).DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: aws.String(id)})
	})
	if amazon.Is(err, "InvalidGroup.NotFound") {
		return false, nil
	}
	return err == nil, err
}

// deleteKey is answered alike whether there is such a key or not.
func (m *machineRound) deleteKey(ctx context.Context, name string) (bool, error) {
	if m.dry {
		return true, nil
	}
	_, err := amazon.Do(ctx, m.cloud, m.region, "ec2:DeleteKeyPair", func(ctx context.Context) (*ec2.DeleteKeyPairOutput, error) {
		return m.cloud.EC2(m.region).DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String(name)})
	})
	return err == nil, err
}
