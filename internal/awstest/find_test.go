package awstest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/awstest"
)

// TestKeysAndGroups: names that are taken, keys that are none, rules.
func TestKeysAndGroups(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	c, ctx := client(server), t.Context()
	for _, tc := range []struct{ name, key, want string }{
		{"k", aKey, ""},
		{"k", aKey, "InvalidKeyPair.Duplicate"},
		{"b", "ssh-ed25519 none", "InvalidKey.Format"},
		{"b", aKey + "\n" + aKey, "InvalidKey.Format"},
		{"ä", aKey, "InvalidParameterValue"},
		{"b", "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=", "InvalidKey.Format"},
	} {
		if _, err := c.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{KeyName: &tc.name, PublicKeyMaterial: []byte(tc.key)}); code(err) != tc.want {
			t.Errorf("%s %.30s: %v", tc.name, tc.key, err)
		}
	}
	for _, each := range []string{"k", "none"} {
		if _, err := c.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: &each}); err != nil {
			t.Errorf("%s: %v", each, err)
		}
	}
	if _, err := c.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{"k"}}); code(err) != "InvalidKeyPair.NotFound" {
		t.Errorf("%v", err)
	}
	group := func(name, description, network string) (string, error) {
		in := &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &description}
		if network != "" {
			in.VpcId = &network
		}
		out, err := c.CreateSecurityGroup(ctx, in)
		if err != nil {
			return "", err
		}
		return *out.GroupId, nil
	}
	id, err := group("g", "d", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range [][4]string{
		{"g", "d", "", "InvalidGroup.Duplicate"}, {"sg-g", "d", "", "InvalidParameterValue"}, {"h", "naïve", "", "InvalidParameterValue"}, {"h", "d", "vpc-00000000000000000", "InvalidVpcID.NotFound"},
	} {
		if _, err := group(tc[0], tc[1], tc[2]); code(err) != tc[3] {
			t.Errorf("%q: %v", tc, err)
		}
	}
	allow := func(cidr string, low, high int32) error {
		_, err := c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, CidrIp: &cidr, IpProtocol: aws.String("tcp"), FromPort: &low, ToPort: &high})
		return err
	}
	for _, tc := range []struct {
		cidr      string
		low, high int32
		want      string
	}{
		{"192.0.2.1/32", 22, 22, ""}, {"192.0.2.1/32", 22, 22, "InvalidPermission.Duplicate"}, {"192.0.2.1", 22, 22, "InvalidParameterValue"}, {"0.0.0.0/0", 23, 22, "InvalidParameterValue"},
	} {
		if err := allow(tc.cidr, tc.low, tc.high); code(err) != tc.want {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	if got := server.Ingress(); len(got) != 1 || !strings.HasSuffix(got[0], " tcp 22-22 192.0.2.1/32") {
		t.Errorf("%q", got)
	}
	all, err := c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{{Name: aws.String("group-name"), Values: []string{"default"}}}})
	if err != nil || len(all.SecurityGroups) != 2 {
		t.Fatalf("%v", err)
	}
	for _, tc := range [][2]string{{*all.SecurityGroups[0].GroupId, "CannotDelete"}, {"g", "InvalidGroupId.Malformed"}, {id, ""}, {id, "InvalidGroup.NotFound"}} {
		if _, err := c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &tc[0]}); code(err) != tc[1] {
			t.Errorf("%q: %v", tc, err)
		}
	}
	if left := server.Resources(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	bare := awstest.New(t, awstest.Options{NoDefaultVPC: true})
	if _, err := client(bare).CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d")}); code(err) != "VPCIdNotSpecified" {
		t.Errorf("without a default network: %v", err)
	}
	if _, err := client(bare).RunInstances(ctx, small(bare.Seed(awstest.Seed{Name: "debian"}))); code(err) != "VPCIdNotSpecified" {
		t.Errorf("without a default network: %v", err)
	}
}

// TestFind: images by owner and filter, on several pages, of which some are
// empty.
func TestFind(t *testing.T) {
	server := awstest.New(t, awstest.Options{Page: 2})
	c, ctx := client(server), t.Context()
	const debian = "136693071363"
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	for n := 1; n <= 5; n++ {
		server.Seed(awstest.Seed{Name: fmt.Sprintf("debian-12-amd64-%d", n), Owner: debian, Alias: "amazon", Created: day(n)})
	}
	server.Seed(awstest.Seed{Name: "debian-12-arm64-6", Owner: debian, Architecture: "arm64", Created: day(6)})
	server.Seed(awstest.Seed{Name: "debian-12-amd64-7", Owner: "999988887777", Created: day(7)}) // an impostor
	server.Seed(awstest.Seed{Name: "debian-12-amd64-8", Owner: debian, Created: day(8), Private: true})
	server.Seed(awstest.Seed{Name: "debian-12-amd64-9", Owner: debian, Created: day(9), Deprecated: day(10)})
	server.Seed(awstest.Seed{Name: "ours", Created: day(11)})
	find := func(owners []string, filters ...string) (names []string, pages int) {
		in := &ec2.DescribeImagesInput{Owners: owners, MaxResults: aws.Int32(100)}
		for i := 0; i < len(filters); i += 2 {
			in.Filters = append(in.Filters, types.Filter{Name: &filters[i], Values: []string{filters[i+1]}})
		}
		for {
			out, err := c.DescribeImages(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, each := range out.Images {
				names = append(names, *each.Name)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return names, pages
			}
		}
	}
	for _, tc := range []struct {
		owners  []string
		filters []string
		want    int
		last    string
	}{
		{[]string{debian}, []string{"name", "debian-12-amd64-*", "architecture", "x86_64", "state", "available"}, 5, "debian-12-amd64-5"},
		{nil, []string{"name", "debian-12-*-?"}, 7, "debian-12-amd64-7"},
		{[]string{"self"}, nil, 1, "ours"},
		{[]string{"amazon"}, []string{"creation-date", "2026-01-0[12]*"}, 0, ""},
		{[]string{"amazon"}, []string{"creation-date", "2026-01-03*"}, 1, "debian-12-amd64-3"},
		{[]string{debian}, []string{"architecture", "arm64", "root-device-type", "ebs", "virtualization-type", "hvm", "image-type", "machine"}, 1, "debian-12-arm64-6"},
		{nil, []string{"owner-id", "999988887777"}, 1, "debian-12-amd64-7"},
		{nil, []string{"tag-key", "x"}, 0, ""},
	} {
		got, pages := find(tc.owners, tc.filters...)
		if len(got) != tc.want || tc.want > 0 && got[len(got)-1] != tc.last || pages != 5 {
			t.Errorf("%q %q: %q on %d pages", tc.owners, tc.filters, got, pages)
		}
	}
	if _, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{{Name: aws.String("colour"), Values: []string{"blue"}}}}); code(err) != "InvalidParameterValue" {
		t.Errorf("%v", err)
	}
	if _, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{NextToken: aws.String("none")}); code(err) != "InvalidNextToken" {
		t.Errorf("%v", err)
	}
	foreign, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{debian}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: foreign.Images[0].ImageId}); code(err) != "AuthFailure" {
		t.Errorf("another's image: %v", err)
	}
	if got := server.Images(); len(got) != 1 || len(server.Resources()) != 2 {
		t.Errorf("%+v, %q", got, server.Resources())
	}
}
