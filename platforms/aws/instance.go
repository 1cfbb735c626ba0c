package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/retry"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/ssh"
)

// What an instance is for.
const (
	forSteps = "steps"
	forTests = "tests"
)

// ended are EC2's words for an instance that was there.
var ended = []string{"InvalidInstanceID.NotFound"} //nolint:gochecknoglobals // a constant list

// running is the call that starts an instance of an image. The image's volume
// goes with it, whatever becomes of us.
func (w *work) running(source *amisource.Config, image types.Image, purpose string) *ec2.RunInstancesInput {
	in := &ec2.RunInstancesInput{
		ImageId: image.ImageId, InstanceType: w.instanceType(source), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorStop,
		MetadataOptions:                   &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpEndpoint: types.InstanceMetadataEndpointStateEnabled},
		TagSpecifications:                 []types.TagSpecification{w.passing(types.ResourceTypeInstance), w.passing(types.ResourceTypeVolume)},
	}
	if purpose == forSteps { // that of the tests has what everybody gets of the image
		in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: image.RootDeviceName, Ebs: w.volume()}}
	}
	return in
}

// volume is the root volume of the instance that the steps run in, and so what
// its image has.
func (w *work) volume() *types.EbsBlockDevice {
	c := &w.config
	v := &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(true), VolumeType: types.VolumeType(c.VolumeType)}
	if c.VolumeSize > 0 {
		v.VolumeSize = aws.Int32(int32(wholeGiB(int64(c.VolumeSize)))) //nolint:gosec // validated
	}
	if c.IOPS > 0 {
		v.Iops = aws.Int32(int32(c.IOPS)) //nolint:gosec // validated
	}
	if c.Throughput > 0 {
		v.Throughput = aws.Int32(int32(c.Throughput)) //nolint:gosec // validated
	}
	if c.Encrypted {
		v.Encrypted = aws.Bool(true)
	}
	if key := c.KMSKeys[c.Region]; key != "" {
		v.KmsKeyId = aws.String(key)
	}
	return v
}

// place says where an instance is put.
func place(in *ec2.RunInstancesInput, source *amisource.Config, group string) {
	if source.Subnet == "" { // EC2 chooses one of the default VPC that has room
		in.SecurityGroupIds = []string{group}
		return
	}
	in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{
		DeviceIndex: aws.Int32(0), SubnetId: aws.String(source.Subnet), Groups: []string{group}, AssociatePublicIpAddress: aws.Bool(!source.Private), DeleteOnTermination: aws.Bool(true),
	}}
}

// start starts an instance of an image and enters it. Its host key is ours: it
// gets it with its user data, so that nobody is trusted at first use.
func (l *launch) start(ctx context.Context, image types.Image, purpose string, task report.Task) (*instance, error) {
	began := time.Now()
	region := l.config.Region
	host, err := ssh.NewHostKey()
	if err != nil {
		return nil, err
	}
	in := l.running(l.source, image, purpose)
	in.KeyName, in.UserData = aws.String(l.temporary()), aws.String(base64.StdEncoding.EncodeToString(entry.UserData(host)))
	place(in, l.source, l.group)
	token := sha256.Sum256([]byte(l.t.Run + " " + l.t.CellDigest + " " + purpose))
	in.ClientToken = aws.String(fmt.Sprintf("%x", token[:16]))
	if err := l.begin(kindInstance, region); err != nil {
		return nil, err
	}
	out, err := shown(ctx, l.work, region, "ec2:RunInstances", []string{"InvalidGroup.NotFound", "InvalidKeyPair.NotFound", "InvalidAMIID.NotFound"}, func(ctx context.Context) (*ec2.RunInstancesOutput, error) {
		return l.cloud.EC2(region).RunInstances(ctx, in)
	})
	if err != nil {
		return nil, explainLimit(err)
	}
	if len(out.Instances) == 0 {
		return nil, fault.Errorf(fault.Remote, "%s: ec2:RunInstances answers without an instance; run the build again", region)
	}
	i := &instance{l: l, id: aws.ToString(out.Instances[0].InstanceId), kind: string(in.InstanceType), host: host.Public, user: userOf(l.source, aws.ToString(l.image.Name))}
	if err := l.note(journal.Entry{Kind: kindInstance, Place: region, ID: i.id}); err != nil {
		return nil, err
	}
	if err := i.await(ctx); err != nil {
		return nil, err
	}
	task.Note("%s (%s) runs at %s", i.id, i.kind, i.addr)
	seen, err := i.enter(ctx)
	if err != nil {
		return nil, i.explain(ctx, err)
	}
	i.seen, i.seconds = seen, time.Since(began).Seconds()
	task.Note("entered after %.0f s by %s, kernel %s", i.seconds, i.way().How, seen.Kernel)
	return i, i.finishStart(ctx, task)
}

// await waits until the instance runs and has an address.
func (i *instance) await(ctx context.Context) error {
	begun := time.Now()
	return i.l.cloud.Poll(ctx, i.l.cloud.Limits.Boot, "instance "+i.id+" and its address", func(ctx context.Context) (bool, error) {
		now, err := i.look(ctx)
		switch {
		case amazon.Is(err, ended...) && time.Since(begun) < i.l.cloud.Limits.Appear:
			return false, nil // not everywhere yet
		case err != nil:
			return false, err
		}
		if why := over(now); why != "" {
			return false, i.died(why)
		}
		address := aws.ToString(now.PublicIpAddress)
		if i.l.source.Private {
			address = aws.ToString(now.PrivateIpAddress)
		}
		i.addr = net.JoinHostPort(address, strconv.Itoa(i.l.source.SSHPort))
		return now.State != nil && now.State.Name == types.InstanceStateNameRunning && address != "", nil
	})
}

// look asks what has become of the instance.
func (i *instance) look(ctx context.Context) (types.Instance, error) {
	region := i.l.config.Region
	out, err := amazon.Do(ctx, i.l.cloud, region, "ec2:DescribeInstances", func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) {
		return i.l.cloud.EC2(region).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{i.id}})
	})
	if err != nil {
		return types.Instance{}, err
	}
	for _, each := range out.Reservations {
		for _, found := range each.Instances {
			return found, nil
		}
	}
	return types.Instance{}, nil // not everywhere yet
}

// over says how an instance ended; empty while it is pending or runs.
func over(i types.Instance) string {
	if i.State == nil {
		return ""
	}
	switch i.State.Name {
	case types.InstanceStateNamePending, types.InstanceStateNameRunning, "":
		return ""
	}
	why := "EC2 does not say why"
	if i.StateReason != nil {
		why = cmp.Or(aws.ToString(i.StateReason.Message), aws.ToString(i.StateReason.Code), why)
	}
	return fmt.Sprintf("is %s: %s", i.State.Name, why)
}

func (i *instance) died(why string) error {
	return fault.Errorf(fault.Remote, "%s: instance %s %s", i.l.config.Region, i.id, why)
}

// watch gives a context that ends when the instance does.
func (i *instance) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait := i.l.cloud.Limits.Poll; ; wait = min(2*wait, i.l.cloud.Limits.MaxPoll) {
			if retry.Sleep(ctx, wait) != nil {
				return
			}
			now, err := i.look(ctx)
			if err != nil && !amazon.Is(err, ended...) {
				cancel(err)
				return
			}
			if why := over(now); why != "" {
				cancel(i.died(why))
				return
			}
		}
	}()
	return ctx, func() {
		cancel(context.Canceled)
		<-done
	}
}

// explainLimit adds what can be done about an account's or a zone's limits.
func explainLimit(err error) error {
	remedy := ""
	switch amazon.Code(err) {
	case "InsufficientInstanceCapacity":
		remedy = "AWS has none free of that type; try again later, or set source.ami.instance_type, or source.ami.subnet for another zone"
	case "VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded":
		remedy = "ask AWS for a higher limit (Service Quotas, EC2), end other instances, or set source.ami.instance_type to a smaller one"
	case "SecurityGroupLimitExceeded", "VPCSecurityGroupLimitExceeded", "RulesPerSecurityGroupLimitExceeded":
		remedy = "remove security groups that nobody uses, or ask AWS for a higher limit; imagebuild gc removes our own"
	case "Unsupported", "InstanceTypeNotSupported":
		remedy = "set source.ami.instance_type to one that the region and the AMI have, or source.ami.subnet to one in another zone"
	case "InvalidParameterValue", "InvalidParameterCombination", "InvalidBlockDeviceMapping":
		remedy = "compare source.ami and the platform's volume with what the AMI has"
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, remedy)
}
