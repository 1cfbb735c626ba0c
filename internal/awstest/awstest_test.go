package awstest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/org/imagebuild-action/internal/awstest"
)

// recorder is a T that notes what fails it.
type recorder struct {
	*testing.T
	faults []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// send signs a request and returns the answer's status and text.
func send(t *testing.T, server *awstest.Server, service, method, path string, header map[string]string, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	digest := sha256.Sum256([]byte(body))
	hash := fmt.Sprintf("%x", digest)
	if method == http.MethodPut {
		hash = "UNSIGNED-PAYLOAD"
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	credentials := aws.Credentials{AccessKeyID: awstest.AccessKey, SecretAccessKey: awstest.SecretKey}
	if header["secret"] != "" {
		credentials.SecretAccessKey = header["secret"]
	}
	if err := v4.NewSigner().SignHTTP(context.Background(), credentials, r, hash, service, "eu-west-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

var form = map[string]string{"Content-Type": "application/x-www-form-urlencoded"}

// TestStrict: what AWS's models, or a signature, do not allow fails the test
// that sent it.
func TestStrict(t *testing.T) {
	const version = "&Version=2016-11-15"
	for name, tc := range map[string]struct {
		service, method, path, body string
		header                      map[string]string
		want                        string
	}{
		"an unknown operation":  {"ec2", "POST", "/", "Action=RebootInstances" + version, form, "RebootInstances"},
		"an unknown parameter":  {"ec2", "POST", "/", "Action=DescribeImages&Colour=blue" + version, form, "no parameter Colour"},
		"another version":       {"ec2", "POST", "/", "Action=DescribeImages&Version=2014-01-01", form, "the model is of 2016-11-15"},
		"a missing member":      {"ec2", "POST", "/", "Action=DeregisterImage" + version, form, "lacks ImageId"},
		"no boolean":            {"ec2", "POST", "/", "Action=DescribeImages&DryRun=maybe" + version, form, "neither true nor false"},
		"no word of a list":     {"ec2", "POST", "/", "Action=RegisterImage&Name=abc&BootMode=floppy" + version, form, `"floppy" is none of`},
		"an unknown type":       {"ec2", "POST", "/", "Action=RunInstances&MinCount=1&MaxCount=1&InstanceType=t99.huge" + version, form, `"t99.huge" is none of`},
		"no count":              {"ec2", "POST", "/", "Action=RunInstances&MinCount=1" + version, form, "lacks MaxCount"},
		"another name's list":   {"ec2", "POST", "/", "Action=RunInstances&MinCount=1&MaxCount=1&SecurityGroupIds.1=sg-1" + version, form, "no parameter SecurityGroupIds"},
		"no base64":             {"ec2", "POST", "/", "Action=ImportKeyPair&KeyName=k&PublicKeyMaterial=ssh-rsa" + version, form, "illegal base64"},
		"no number of a port":   {"ec2", "POST", "/", "Action=AuthorizeSecurityGroupIngress&GroupId=sg-1&FromPort=ssh" + version, form, "invalid syntax"},
		"no form":               {"ec2", "POST", "/", "{}", map[string]string{"Content-Type": "application/json"}, "no form's"},
		"no JSON":               {"ebs", "POST", "/snapshots", "volume", nil, "not JSON"},
		"an unknown JSON key":   {"ebs", "POST", "/snapshots", `{"VolumeSize": 1, "Colour": "blue"}`, nil, "no member Colour"},
		"a JSON text for a 1":   {"ebs", "POST", "/snapshots", `{"VolumeSize": "1"}`, nil, "wants long"},
		"out of range":          {"ebs", "POST", "/snapshots", `{"VolumeSize": 0}`, nil, "out of the model's range"},
		"no such path":          {"ebs", "GET", "/volumes", "", nil, "not served"},
		"another secret":        {"ec2", "POST", "/", "Action=DescribeImages" + version, map[string]string{"Content-Type": form["Content-Type"], "secret": "x"}, "the signature is not"},
		"a service of its kind": {"s3", "GET", "/", "", nil, "of no service here"},
	} {
		t.Run(name, func(t *testing.T) {
			noted := &recorder{T: t}
			server := awstest.New(noted, awstest.Options{})
			status, _ := send(t, server, tc.service, tc.method, tc.path, tc.header, tc.body)
			if status < 400 || len(noted.faults) != 1 || !strings.Contains(noted.faults[0], tc.want) || len(server.Violations()) != 1 {
				t.Errorf("status %d, %q, want %q", status, noted.faults, tc.want)
			}
		})
	}
}

// TestBlocks: a block that is not the one that its digest says is refused, and
// so is a sum that is not the blocks'.
func TestBlocks(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	status, text := send(t, server, "ebs", "POST", "/snapshots", nil, `{"VolumeSize": 1, "ClientToken": "a"}`)
	if status != http.StatusCreated {
		t.Fatal(text)
	}
	_, rest, _ := strings.Cut(text, `"SnapshotId":"`)
	id, _, _ := strings.Cut(rest, `"`)
	block := bytes.Repeat([]byte{7}, 512<<10)
	digest := sha256.Sum256(block)
	good := base64.StdEncoding.EncodeToString(digest[:])
	put := func(index int, length, checksum string, data []byte) (int, string) {
		return send(t, server, "ebs", "PUT", fmt.Sprintf("/snapshots/%s/blocks/%d", id, index),
			map[string]string{"X-Amz-Checksum": checksum, "X-Amz-Checksum-Algorithm": "SHA256", "X-Amz-Data-Length": length}, string(data))
	}
	bad := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, tc := range []struct {
		index            int
		length, checksum string
		data             []byte
		status           int
		want             string
	}{
		{0, "524288", bad, block, 400, "INVALID_BLOCK"},
		{2048, "524288", good, block, 400, "INVALID_BLOCK"},
		{0, "1024", good, block[:1024], 400, "INVALID_PARAMETER_VALUE"},
		{0, "524288", good, block, 201, ""},
	} {
		if status, text := put(tc.index, tc.length, tc.checksum, tc.data); status != tc.status || !strings.Contains(text, tc.want) {
			t.Errorf("%d %s %s: %d %s", tc.index, tc.length, tc.checksum, status, text)
		}
	}
	linear := sha256.Sum256(digest[:])
	complete := func(count, checksum string) int {
		status, _ := send(t, server, "ebs", "POST", "/snapshots/completion/"+id, map[string]string{
			"X-Amz-Changedblockscount": count, "X-Amz-Checksum": checksum, "X-Amz-Checksum-Algorithm": "SHA256", "X-Amz-Checksum-Aggregation-Method": "LINEAR",
		}, "")
		return status
	}
	if a, b, c := complete("2", base64.StdEncoding.EncodeToString(linear[:])), complete("1", bad), complete("1", base64.StdEncoding.EncodeToString(linear[:])); a != 400 || b != 400 || c != 202 {
		t.Errorf("a wrong count: %d, a wrong sum: %d, the right ones: %d", a, b, c)
	}
	if status, text := put(1, "524288", good, block); status != 400 || !strings.Contains(text, "INVALID_SNAPSHOT_ID") {
		t.Errorf("a block into what is complete: %d %s", status, text)
	}
}
