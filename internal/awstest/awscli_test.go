package awstest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// awsCLI is Amazon's own client, which nobody here wrote.
func awsCLI(t *testing.T, server *awstest.Server) func(into any, args ...string) {
	t.Helper()
	testkit.Whole(t, "starts Amazon's client many times")
	tool := testkit.Tool(t, "aws")
	return func(into any, args ...string) {
		t.Helper()
		args = append([]string{"--endpoint-url", server.URL(), "--region", "eu-west-1", "--output", "json"}, args...)
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Env = server.Client(os.Environ())
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args[6:], " "), err, stderr.String())
		}
		if into != nil {
			if err := json.Unmarshal(out, into); err != nil {
				t.Fatalf("aws %s: %v\n%s", strings.Join(args[6:], " "), err, out)
			}
		}
	}
}

// TestAWSCLI makes an AMI with Amazon's own client and reads the disk back
// with it.
func TestAWSCLI(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	call := awsCLI(t, server)
	block := testkit.Noise(7, 512<<10)
	digest := sha256.Sum256(block)
	linear := sha256.Sum256(digest[:])
	file := filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	var snapshot struct {
		ID string `json:"SnapshotId"`
	}
	call(&snapshot, "ebs", "start-snapshot", "--volume-size", "1", "--tags", "Key=team,Value=platform", "--client-token", "once")
	var again struct {
		ID string `json:"SnapshotId"`
	}
	call(&again, "ebs", "start-snapshot", "--volume-size", "1", "--tags", "Key=team,Value=platform", "--client-token", "once")
	if again != snapshot {
		t.Errorf("the same token made %s and %s", snapshot.ID, again.ID)
	}
	call(nil, "ebs", "put-snapshot-block", "--snapshot-id", snapshot.ID, "--block-index", "3", "--block-data", file, "--data-length", "524288",
		"--checksum", base64.StdEncoding.EncodeToString(digest[:]), "--checksum-algorithm", "SHA256")
	call(nil, "ebs", "complete-snapshot", "--snapshot-id", snapshot.ID, "--changed-blocks-count", "1",
		"--checksum", base64.StdEncoding.EncodeToString(linear[:]), "--checksum-algorithm", "SHA256", "--checksum-aggregation-method", "LINEAR")
	var listed struct {
		Blocks []struct {
			BlockIndex int
			BlockToken string
		}
	}
	call(&listed, "ebs", "list-snapshot-blocks", "--snapshot-id", snapshot.ID)
	if len(listed.Blocks) != 1 || listed.Blocks[0].BlockIndex != 3 {
		t.Fatalf("%+v", listed)
	}
	back := filepath.Join(t.TempDir(), "back")
	call(nil, "ebs", "get-snapshot-block", "--snapshot-id", snapshot.ID, "--block-index", "3", "--block-token", listed.Blocks[0].BlockToken, back)
	if read, err := os.ReadFile(back); err != nil || string(read) != string(block) {
		t.Errorf("another block came back (%v)", err)
	}
	var image struct {
		ID string `json:"ImageId"`
	}
	call(&image, "ec2", "register-image", "--name", "by hand", "--architecture", "x86_64", "--virtualization-type", "hvm", "--ena-support", "--root-device-name", "/dev/xvda",
		"--block-device-mappings", "DeviceName=/dev/xvda,Ebs={SnapshotId="+snapshot.ID+",VolumeType=gp3}")
	var copied struct {
		ID string `json:"ImageId"`
	}
	call(&copied, "--region", "us-east-1", "ec2", "copy-image", "--name", "by hand", "--source-image-id", image.ID, "--source-region", "eu-west-1")
	call(nil, "ec2", "modify-image-attribute", "--image-id", image.ID, "--launch-permission", "Add=[{UserId=123456789012}]")
	var images struct {
		Images []struct {
			ID                        string `json:"ImageId"`
			Name, Architecture, State string
		}
	}
	call(&images, "ec2", "describe-images", "--owners", "self", "--filters", "Name=name,Values=by hand")
	if len(images.Images) != 1 || images.Images[0].ID != image.ID || images.Images[0].State != "available" || images.Images[0].Architecture != "x86_64" {
		t.Errorf("%+v", images)
	}
	call(nil, "ssm", "put-parameter", "--name", "/images/golden", "--type", "String", "--data-type", "aws:ec2:image", "--value", image.ID)
	var who struct{ Account string }
	call(&who, "sts", "get-caller-identity")
	if who.Account != awstest.Account {
		t.Errorf("%+v", who)
	}
	if got := server.Images(); len(got) != 2 || len(got[0].Shared) != 1 || got[1].Source != "eu-west-1 "+image.ID {
		t.Errorf("%+v", got)
	}
	call(nil, "ec2", "deregister-image", "--image-id", image.ID)
	call(nil, "ec2", "delete-snapshot", "--snapshot-id", snapshot.ID)
}

// TestAWSCLIInstances takes every operation about instances with Amazon's own
// client, on pages of two.
func TestAWSCLIInstances(t *testing.T) {
	server := awstest.New(t, awstest.Options{Page: 2, Hypervisor: &metal{}})
	call := awsCLI(t, server)
	for _, day := range []int{1, 3, 2} {
		server.Seed(awstest.Seed{Name: "debian-12-amd64-" + strconv.Itoa(day), Owner: "136693071363", Created: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)})
	}
	var newest string
	call(&newest, "ec2", "describe-images", "--owners", "136693071363", "--filters", "Name=name,Values=debian-12-amd64-*", "Name=architecture,Values=x86_64", "--query", "sort_by(Images,&CreationDate)[-1].ImageId")
	key := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(key, []byte(aKey), 0o600); err != nil {
		t.Fatal(err)
	}
	call(nil, "ec2", "import-key-pair", "--key-name", "k", "--public-key-material", "fileb://"+key, "--tag-specifications", "ResourceType=key-pair,Tags=[{Key=team,Value=platform}]")
	var network, subnet, group, id, image string
	call(&network, "ec2", "describe-vpcs", "--filters", "Name=is-default,Values=true", "--query", "Vpcs[0].VpcId")
	call(&subnet, "ec2", "describe-subnets", "--filters", "Name=vpc-id,Values="+network, "--query", "Subnets[2].SubnetId")
	call(&group, "ec2", "create-security-group", "--group-name", "g", "--description", "d", "--vpc-id", network, "--query", "GroupId")
	call(nil, "ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "22", "--cidr", "0.0.0.0/0")
	call(&id, "ec2", "run-instances", "--image-id", newest, "--instance-type", "t3.micro", "--key-name", "k", "--security-group-ids", group, "--subnet-id", subnet, "--associate-public-ip-address",
		"--user-data", "#cloud-config", "--metadata-options", "HttpTokens=required", "--tag-specifications", "ResourceType=instance,Tags=[{Key=team,Value=platform}]", "--query", "Instances[0].InstanceId")
	call(nil, "ec2", "wait", "instance-running", "--instance-ids", id)
	var address, tokens, console string
	call(&address, "ec2", "describe-instances", "--filters", "Name=tag:team,Values=platform", "Name=instance-state-name,Values=running", "--query", "Reservations[0].Instances[0].PublicIpAddress")
	call(&tokens, "ec2", "describe-instances", "--instance-ids", id, "--query", "Reservations[0].Instances[0].MetadataOptions.HttpTokens")
	call(&console, "ec2", "get-console-output", "--instance-id", id, "--query", "Output")
	if address != "127.0.0.1" || tokens != "required" || console != "login: " {
		t.Errorf("%s, tokens %s, console %q", address, tokens, console)
	}
	call(nil, "ec2", "stop-instances", "--instance-ids", id)
	call(nil, "ec2", "wait", "instance-stopped", "--instance-ids", id)
	call(&image, "ec2", "create-image", "--instance-id", id, "--name", "golden", "--query", "ImageId")
	call(nil, "ec2", "wait", "image-available", "--image-ids", image)
	call(nil, "ec2", "create-tags", "--resources", id, group, image, "--tags", "Key=a,Value=b")
	call(nil, "ec2", "terminate-instances", "--instance-ids", id)
	call(nil, "ec2", "wait", "instance-terminated", "--instance-ids", id)
	var volumes, keys, groups []any
	call(&volumes, "ec2", "describe-volumes", "--query", "Volumes[]")
	call(&keys, "ec2", "describe-key-pairs", "--key-names", "k", "--query", "KeyPairs[]")
	call(&groups, "ec2", "describe-security-groups", "--query", "SecurityGroups[]")
	if len(volumes) != 0 || len(keys) != 1 || len(groups) != 3 {
		t.Errorf("%v, %v, %v", volumes, keys, groups)
	}
	call(nil, "ec2", "delete-security-group", "--group-id", group)
	call(nil, "ec2", "delete-key-pair", "--key-name", "k")
	if left := server.Resources(); len(left) != 2 {
		t.Errorf("left %q", left)
	}
}
