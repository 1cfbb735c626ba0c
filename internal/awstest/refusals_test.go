package awstest_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awshttp "github.com/aws/smithy-go/transport/http"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// small launches one instance of what most tests launch.
func small(image string) *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{ImageId: &image, InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
}

// TestRunRefused: what RunInstances does not take, and the word that it uses.
func TestRunRefused(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	c, ctx := client(server), t.Context()
	image := server.Seed(awstest.Seed{Name: "debian", Owner: "136693071363", SizeGiB: 8})
	hidden := server.Seed(awstest.Seed{Name: "secret", Owner: "136693071363", Private: true})
	arm := server.Seed(awstest.Seed{Name: "arm", Architecture: "arm64"})
	other, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("default-for-az"), Values: []string{"false"}}}})
	if err != nil || len(other.Subnets) == 0 || *other.Subnets[0].MapPublicIpOnLaunch {
		t.Fatalf("%v: %+v", err, other)
	}
	made, err := c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d")})
	if err != nil {
		t.Fatal(err)
	}
	root := func(ebs types.EbsBlockDevice) []types.BlockDeviceMapping {
		return []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ebs}}
	}
	tagged := func(kind types.ResourceType, key string) []types.TagSpecification {
		return []types.TagSpecification{{ResourceType: kind, Tags: []types.Tag{{Key: &key, Value: aws.String("v")}}}}
	}
	for name, tc := range map[string]struct {
		change func(*ec2.RunInstancesInput)
		want   string
	}{
		"no image":                {func(in *ec2.RunInstancesInput) { in.ImageId = nil }, "MissingParameter"},
		"another's image":         {func(in *ec2.RunInstancesInput) { in.ImageId = &hidden }, "InvalidAMIID.NotFound"},
		"another architecture":    {func(in *ec2.RunInstancesInput) { in.ImageId = &arm }, "InvalidParameterValue"},
		"a Graviton":              {func(in *ec2.RunInstancesInput) { in.InstanceType = types.InstanceTypeT4gMicro }, "InvalidParameterValue"},
		"the default type":        {func(in *ec2.RunInstancesInput) { in.InstanceType = "" }, "InvalidParameterCombination"},
		"none":                    {func(in *ec2.RunInstancesInput) { in.MinCount, in.MaxCount = aws.Int32(0), aws.Int32(0) }, "InvalidParameterValue"},
		"a thousand":              {func(in *ec2.RunInstancesInput) { in.MaxCount = aws.Int32(1000) }, "InstanceLimitExceeded"},
		"no such key":             {func(in *ec2.RunInstancesInput) { in.KeyName = aws.String("none") }, "InvalidKeyPair.NotFound"},
		"no such group":           {func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{"sg-00000000000000000"} }, "InvalidGroup.NotFound"},
		"no such subnet":          {func(in *ec2.RunInstancesInput) { in.SubnetId = aws.String("subnet-00000000000000000") }, "InvalidSubnetID.NotFound"},
		"user data in clear text": {func(in *ec2.RunInstancesInput) { in.UserData = aws.String("#cloud-config") }, "InvalidUserData.Malformed"},
		"too much user data": {func(in *ec2.RunInstancesInput) {
			in.UserData = aws.String(base64.StdEncoding.EncodeToString(make([]byte, 16<<10+1)))
		}, "InvalidParameterValue"},
		"a small disk": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = root(types.EbsBlockDevice{VolumeSize: aws.Int32(4)})
		}, "InvalidBlockDeviceMapping"},
		"another disk's content": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = root(types.EbsBlockDevice{SnapshotId: aws.String("snap-1")})
		}, "InvalidBlockDeviceMapping"},
		"a throughput of gp2": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = root(types.EbsBlockDevice{Throughput: aws.Int32(200), VolumeType: types.VolumeTypeGp2})
		}, "InvalidParameterCombination"},
		"a tag of AWS's":       {func(in *ec2.RunInstancesInput) { in.TagSpecifications = tagged("instance", "aws:x") }, "InvalidParameterValue"},
		"a tag of what is not": {func(in *ec2.RunInstancesInput) { in.TagSpecifications = tagged("image", "x") }, "InvalidParameterValue"},
		"a spot market": {func(in *ec2.RunInstancesInput) {
			in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
		}, "InvalidRequest"},
		"a zone of another": {func(in *ec2.RunInstancesInput) {
			in.SubnetId, in.Placement = other.Subnets[0].SubnetId, &types.Placement{AvailabilityZone: aws.String("eu-west-1z")}
		}, "InvalidParameterValue"},
		"groups of two networks": {func(in *ec2.RunInstancesInput) {
			in.SubnetId, in.SecurityGroupIds = other.Subnets[0].SubnetId, []string{*made.GroupId}
		}, "InvalidParameter"},
		"a card, and a subnet": {func(in *ec2.RunInstancesInput) {
			in.SubnetId, in.NetworkInterfaces = other.Subnets[0].SubnetId, []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0)}}
		}, "InvalidParameterCombination"},
		"a card, and groups": {func(in *ec2.RunInstancesInput) {
			in.SecurityGroupIds, in.NetworkInterfaces = []string{*made.GroupId}, []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0)}}
		}, "InvalidParameterCombination"},
	} {
		in := small(image)
		tc.change(in)
		if _, err := c.RunInstances(ctx, in); code(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if all := server.Instances(); len(all) > 0 {
		t.Errorf("refused, and yet there are %+v", all)
	}
	dry := small(image)
	dry.DryRun = aws.Bool(true)
	if _, err := c.RunInstances(ctx, dry); code(err) != "DryRunOperation" {
		t.Errorf("a dry run: %v", err)
	}
	token := small(image)
	token.ClientToken = aws.String("t")
	if _, err := c.RunInstances(ctx, token); err != nil {
		t.Fatal(err)
	}
	token.InstanceType = types.InstanceTypeT3Small
	if _, err := c.RunInstances(ctx, token); code(err) != "IdempotentParameterMismatch" {
		t.Errorf("a token for two: %v", err)
	}
}

// TestDenied: a right that is missing, in one region.
func TestDenied(t *testing.T) {
	server := awstest.New(t, awstest.Options{Deny: []string{"ec2:RunInstances@eu-west-1"}})
	image := server.Seed(awstest.Seed{Name: "debian"})
	for _, dry := range []bool{true, false} {
		in := small(image)
		in.DryRun = &dry
		if _, err := client(server).RunInstances(t.Context(), in); code(err) != "UnauthorizedOperation" {
			t.Errorf("%v", err)
		}
	}
}

// TestNoRoom: what a zone answers that is full, and an instance that dies
// before it runs.
func TestNoRoom(t *testing.T) {
	server := awstest.New(t, awstest.Options{Lag: 1})
	c, ctx := client(server), t.Context()
	image := server.Seed(awstest.Seed{Name: "debian", Owner: "136693071363"})
	for word, status := range map[string]int{"InsufficientInstanceCapacity": 500, "Unsupported": 400, "VcpuLimitExceeded": 400} {
		server.Fail(awstest.Fault{Operation: "RunInstances", Effect: awstest.Refuse, Code: word})
		_, err := c.RunInstances(ctx, small(image))
		var answer *awshttp.ResponseError
		if code(err) != word || !errors.As(err, &answer) || answer.HTTPStatusCode() != status {
			t.Errorf("%s: %v", word, err)
		}
		server.Heal()
	}
	server.Fail(awstest.Fault{Operation: "RunInstances", Effect: awstest.Stillborn})
	run, err := c.RunInstances(ctx, small(image))
	if err != nil {
		t.Fatal(err)
	}
	i, seen := look(t, c, *run.Instances[0].InstanceId, "terminated")
	if !slices.Equal(seen, []string{"none", "pending"}) || *i.StateReason.Code != "Server.InternalError" {
		t.Errorf("%q, %+v", seen, i.StateReason)
	}
	if left := server.Resources(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// TestHostFails: an instance that its host cannot start dies too, and one that
// switches itself off is stopped, or gone if it was asked for so.
func TestHostFails(t *testing.T) {
	host := &metal{fails: errors.New("no power")}
	server := awstest.New(t, awstest.Options{Hypervisor: host})
	c, ctx := client(server), t.Context()
	image := server.Seed(awstest.Seed{Name: "debian", Owner: "136693071363"})
	run, err := c.RunInstances(ctx, small(image))
	if err != nil {
		t.Fatal(err)
	}
	look(t, c, *run.Instances[0].InstanceId, "terminated")
	if left := server.Resources(); len(left) > 0 || !slices.Equal(host.log, []string{"start"}) {
		t.Errorf("left %q; the host was told to %q", left, host.log)
	}
	host.fails = nil
	for behaviour, want := range map[types.ShutdownBehavior]types.InstanceStateName{"": "stopped", "stop": "stopped", "terminate": "terminated"} {
		in := small(image)
		in.InstanceInitiatedShutdownBehavior = behaviour
		run, err := c.RunInstances(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		id := *run.Instances[0].InstanceId
		look(t, c, id, "running")
		host.guest(id).Off()
		if i, _ := look(t, c, id, want); *i.StateReason.Code != "Client.InstanceInitiatedShutdown" {
			t.Errorf("%q: %+v", behaviour, i.StateReason)
		}
	}
}

// TestInstanceStates: what is not to be done to an instance, and when one is
// forgotten.
func TestInstanceStates(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	server := awstest.New(t, awstest.Options{Now: func() time.Time { return now }, Lag: 1})
	c, ctx := client(server), t.Context()
	image := server.Seed(awstest.Seed{Name: "debian"})
	in := small(image)
	in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(false)}}}
	run, err := c.RunInstances(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{*run.Instances[0].InstanceId}
	stop := func() error {
		_, err := c.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: ids})
		return err
	}
	if err := stop(); code(err) != "InvalidInstanceID.NotFound" {
		t.Errorf("stop what is not there yet: %v", err)
	}
	if err := stop(); code(err) != "IncorrectInstanceState" {
		t.Errorf("stop what is pending: %v", err)
	}
	look(t, c, ids[0], "running")
	if _, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: append(ids, "i-00000000000000000")}); code(err) != "InvalidInstanceID.NotFound" {
		t.Errorf("terminate two, of which one is none: %v", err)
	}
	if i, _ := look(t, c, ids[0], "running"); len(i.BlockDeviceMappings) != 1 {
		t.Errorf("%+v", i)
	}
	if _, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{"builder"}}); code(err) != "InvalidInstanceID.Malformed" {
		t.Errorf("%v", err)
	}
	if _, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids}); err != nil {
		t.Fatal(err)
	}
	look(t, c, ids[0], "terminated")
	if err := stop(); code(err) != "IncorrectInstanceState" {
		t.Errorf("stop what is gone: %v", err)
	}
	if _, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids}); err != nil {
		t.Errorf("terminate what is gone: %v", err)
	}
	if _, err := c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: &ids[0], Name: aws.String("late")}); code(err) != "IncorrectState" {
		t.Errorf("%v", err)
	}
	left := server.Resources()
	if len(left) != 3 || !strings.HasPrefix(left[2], "eu-west-1 volume vol-") || !strings.HasSuffix(left[2], " available") {
		t.Errorf("the volume was to stay: %q", left)
	}
	volumes, err := c.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{{Name: aws.String("status"), Values: []string{"available"}}}})
	if err != nil || len(volumes.Volumes) != 1 {
		t.Fatalf("%v", err)
	}
	if _, err := c.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: volumes.Volumes[0].VolumeId}); err != nil || len(server.Resources()) != 2 {
		t.Errorf("%v", err)
	}
	now = now.Add(2 * time.Hour)
	if _, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}); code(err) != "InvalidInstanceID.NotFound" {
		t.Errorf("remembered for ever: %v", err)
	}
}

// TestCreateImage: without an inside, an image has what its instance was made
// of; names are taken; and what begins well may fail.
func TestCreateImage(t *testing.T) {
	server := awstest.New(t, awstest.Options{Lag: 1, EncryptByDefault: true})
	c, ctx := client(server), t.Context()
	disk := testkit.NewDisk(1 << 30)
	disk.Put(300<<20, testkit.Noise(1, 4096))
	run, err := c.RunInstances(ctx, small(server.Seed(awstest.Seed{Name: "debian", Owner: "136693071363", Disk: disk})))
	if err != nil {
		t.Fatal(err)
	}
	id := run.Instances[0].InstanceId
	look(t, c, *id, "running")
	server.Fail(awstest.Fault{Operation: "CreateImage", Nth: 2, Effect: awstest.Stillborn})
	var made []string
	for _, name := range []string{"first", "second"} {
		out, err := c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: id, Name: &name, NoReboot: aws.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, *out.ImageId)
	}
	for i, want := range []types.ImageState{"available", "failed"} {
		var states []string
		for range 3 {
			out, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: made[i : i+1]})
			if err != nil {
				states = append(states, code(err))
				continue
			}
			states = append(states, string(out.Images[0].State))
		}
		if !slices.Equal(states, []string{"InvalidAMIID.NotFound", "pending", string(want)}) {
			t.Errorf("%q, want %s", states, want)
		}
	}
	for name, want := range map[string]string{"first": "InvalidAMIName.Duplicate", "a*b": "InvalidAMIName.Malformed"} {
		if _, err := c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: id, Name: &name}); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := server.Images(); len(got) != 2 || !got[0].Encrypted || got[0].Instance != *id {
		t.Errorf("%+v", got)
	}
	back, err := server.Disk("eu-west-1", made[0])
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	read := make([]byte, 4096)
	if _, err := back.ReadAt(read, 300<<20); err != nil || string(read) != string(testkit.Noise(1, 4096)) {
		t.Errorf("another disk came back: %v", err)
	}
}
