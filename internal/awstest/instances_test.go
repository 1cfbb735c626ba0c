package awstest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// metal is a hypervisor whose guests do nothing but write where they are told.
type metal struct {
	mu     sync.Mutex
	guests map[string]awstest.Guest
	log    []string
	fails  error
}

func (m *metal) note(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, what)
}

func (m *metal) Start(_ context.Context, g awstest.Guest) (string, error) {
	m.note("start")
	if m.fails != nil {
		return "", m.fails
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.guests == nil {
		m.guests = map[string]awstest.Guest{}
	}
	m.guests[g.ID] = g
	return "127.0.0.1", nil
}

func (m *metal) Stop(context.Context, string) error { m.note("stop"); return nil }
func (m *metal) Destroy(string)                     { m.note("destroy") }
func (m *metal) Console(string) string              { return "login: " }

func (m *metal) guest(id string) awstest.Guest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.guests[id]
}

// client is the SDK without its retries.
func client(server *awstest.Server) *ec2.Client {
	return ec2.New(ec2.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(server.URL()), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(awstest.AccessKey, awstest.SecretKey, ""),
	})
}

// code is what a call was answered with, as EC2 names it.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// again calls until the error is another than code.
func again[T any](t *testing.T, call func() (T, error), want string) (T, int) {
	t.Helper()
	for times := 0; ; times++ {
		out, err := call()
		if code(err) == want && times < 100 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return out, times
	}
}

const aKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f tester"

// look describes one instance until it is in the state, and says in how many it
// was before.
func look(t *testing.T, c *ec2.Client, id string, state types.InstanceStateName) (types.Instance, []string) {
	t.Helper()
	var seen []string
	for range 1000 {
		out, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if code(err) == "InvalidInstanceID.NotFound" {
			seen = append(seen, "none")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		i := out.Reservations[0].Instances[0]
		if i.State.Name == state {
			return i, slices.Compact(seen)
		}
		seen = append(seen, string(i.State.Name))
	}
	t.Fatalf("%s never was %s, but %q", id, state, seen)
	return types.Instance{}, nil
}

// TestInstance is the way from an AMI to the next one.
func TestInstance(t *testing.T) {
	host := &metal{}
	server := awstest.New(t, awstest.Options{Lag: 2, Hypervisor: host})
	c, ctx := client(server), t.Context()
	disk := testkit.NewDisk(1 << 30)
	disk.Put(0, testkit.Noise(1, 700<<10))
	source := server.Seed(awstest.Seed{Name: "debian-12-amd64-1", Owner: "136693071363", Disk: disk, BootMode: "uefi-preferred", ImdsSupport: "v2.0"})
	if left := server.Resources(); len(left) > 0 {
		t.Fatalf("a cloud with nothing of ours has %q", left)
	}
	if _, err := c.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{KeyName: aws.String("k"), PublicKeyMaterial: []byte(aKey)}); err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d")})
	if err != nil {
		t.Fatal(err)
	}
	again(t, func() (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
		return c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: made.GroupId, IpPermissions: []types.IpPermission{
			{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0"), Description: aws.String("ssh")}}},
		}})
	}, "InvalidGroup.NotFound")
	if got := server.Ingress(); len(got) != 1 || got[0] != "eu-west-1 "+*made.GroupId+" tcp 22-22 0.0.0.0/0" {
		t.Errorf("%q", got)
	}
	launch := &ec2.RunInstancesInput{
		ImageId: &source, InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), KeyName: aws.String("k"), SecurityGroupIds: []string{*made.GroupId},
		UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("#cloud-config\n"))), ClientToken: aws.String("once"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(2), DeleteOnTermination: aws.Bool(true)}}},
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("builder")}}},
			{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("disk")}}},
		},
	}
	run, times := again(t, func() (*ec2.RunInstancesOutput, error) { return c.RunInstances(ctx, launch) }, "InvalidKeyPair.NotFound")
	if times != 2 || run.Instances[0].State.Name != "pending" {
		t.Errorf("%d times without a key, then %s", times, run.Instances[0].State.Name)
	}
	id := *run.Instances[0].InstanceId
	if twice, err := c.RunInstances(ctx, launch); err != nil || *twice.Instances[0].InstanceId != id {
		t.Errorf("the same token: %v", err)
	}
	i, seen := look(t, c, id, "running")
	if !slices.Equal(seen, []string{"none", "pending"}) || aws.ToString(i.PublicIpAddress) != "127.0.0.1" || i.MetadataOptions.HttpTokens != "required" {
		t.Errorf("%q, %+v", seen, i)
	}
	g := host.guest(id)
	if g.PublicKey != aKey || !g.UEFI || !g.MetadataVersion2 || string(g.UserData) != "#cloud-config\n" || g.Region != "eu-west-1" || g.Groups[0] != "g" {
		t.Errorf("%+v", g)
	}
	f, err := os.OpenFile(g.Disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begin := make([]byte, 700<<10)
	if _, err := f.ReadAt(begin, 0); err != nil || string(begin) != string(testkit.Noise(1, 700<<10)) {
		t.Errorf("the disk is not the image's (%v)", err)
	}
	if _, err := f.WriteAt([]byte("written inside"), 1500<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := c.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: &id}); err != nil || *out.Output != base64.StdEncoding.EncodeToString([]byte("login: ")) {
		t.Errorf("%v", err)
	}
	if out, err := c.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}}); err != nil || out.StoppingInstances[0].CurrentState.Name != "stopping" {
		t.Errorf("%v", err)
	}
	if _, err := c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("golden")}); code(err) != "IncorrectState" {
		t.Errorf("an image of what is stopping: %v", err)
	}
	if i, seen = look(t, c, id, "stopped"); i.PublicIpAddress != nil || !slices.Equal(seen, []string{"stopping"}) {
		t.Errorf("%q, %+v", seen, i)
	}
	image, err := c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("golden"), TagSpecifications: []types.TagSpecification{
		{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}, {ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{{Key: aws.String("c"), Value: aws.String("d")}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range server.Resources() {
		fields := strings.Fields(each)
		want := map[string]map[string]string{"image": {"a": "b"}, "snapshot": {"c": "d"}, "instance": {"Name": "builder"}, "volume": {"Name": "disk"}}[fields[1]]
		if want != nil && !maps.Equal(server.Tags(fields[0], fields[2]), want) {
			t.Errorf("%s has the tags %v", each, server.Tags(fields[0], fields[2]))
		}
	}
	if _, err := c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: made.GroupId}); code(err) != "DependencyViolation" {
		t.Errorf("a group that is used: %v", err)
	}
	if _, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	if i, _ = look(t, c, id, "terminated"); len(i.BlockDeviceMappings)+len(i.SecurityGroups) > 0 || i.VpcId != nil {
		t.Errorf("%+v", i)
	}
	var states []string
	for {
		out, _ := again(t, func() (*ec2.DescribeImagesOutput, error) {
			return c.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{*image.ImageId}})
		}, "InvalidAMIID.NotFound")
		if states = append(states, string(out.Images[0].State)); out.Images[0].State != "pending" {
			if one := out.Images[0]; one.BootMode != "uefi-preferred" || one.ImdsSupport != "v2.0" || aws.ToString(one.SourceInstanceId) != id || *one.BlockDeviceMappings[0].Ebs.VolumeSize != 2 {
				t.Errorf("%+v", one)
			}
			break
		}
	}
	if states = slices.Compact(states); !slices.Equal(states, []string{"pending", "available"}) {
		t.Errorf("the image was %q", states)
	}
	_, times = again(t, func() (*ec2.DeleteSecurityGroupOutput, error) {
		return c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: made.GroupId})
	}, "DependencyViolation")
	if times != 2 {
		t.Errorf("its network interface was there %d times", times)
	}
	if _, err := c.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String("k")}); err != nil {
		t.Error(err)
	}
	if left := server.Resources(); len(left) != 2 || !strings.HasPrefix(left[0], "eu-west-1 image") || !strings.HasSuffix(left[1], "completed") {
		t.Errorf("left %q", left)
	}
	back, err := server.Disk("eu-west-1", *image.ImageId)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	whole := make([]byte, 700<<10+14)
	if _, err := back.ReadAt(whole[:700<<10], 0); err != nil {
		t.Error(err)
	}
	if _, err := back.ReadAt(whole[700<<10:], 1500<<20); err != nil {
		t.Error(err)
	}
	if string(whole) != string(testkit.Noise(1, 700<<10))+"written inside" || back.Size() != 2<<30 {
		t.Error("another disk came back")
	}
	extents := 0
	for at := int64(0); ; extents++ {
		_, end, err := back.NextExtent(at)
		if errors.Is(err, io.EOF) {
			break
		}
		at = end
	}
	if extents != 3 || !slices.Equal(host.log, []string{"start", "stop", "destroy"}) {
		t.Errorf("%d blocks; the host was told to %q", extents, host.log)
	}
}
