package awstest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// TestAWSCLI makes an AMI with Amazon's own client, which nobody here wrote,
// and reads the disk back with it.
func TestAWSCLI(t *testing.T) {
	if os.Getenv("IMAGEBUILD_E2E") != "1" {
		t.Skip("IMAGEBUILD_E2E is not 1")
	}
	tool := testkit.Tool(t, "aws")
	server := awstest.New(t, awstest.Options{})
	call := func(into any, args ...string) {
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
