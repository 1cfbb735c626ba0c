package aws

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

func TestPublish(t *testing.T) {
	r := newRun(t, awstest.Options{Lag: 2})
	c := r.config
	c.ShareWith = []string{"123456789012", "210987654321", "arn:aws:organizations::123456789012:organization/o-abc123"}
	c.DeprecateAfter, c.SSMParameter, c.Deregister, c.Tags = 180*day, "/images/golden", Protected, map[string]string{"team": "platform"}
	out := r.mustPublish()
	images := r.server.Images()
	if len(images) != 3 || len(out.Artifacts) != 3 || out.RecordName != "ami-aws-amd64.json" {
		t.Fatalf("%d images, %+v", len(images), out)
	}
	var record Record
	if err := json.Unmarshal(out.Record, &record); err != nil || len(record.Images) != 3 || record.Images[0].Region != "eu-west-1" {
		t.Errorf("%v, %s", err, out.Record)
	}
	for _, each := range images {
		wantShared := []string{"organizationArn arn:aws:organizations::123456789012:organization/o-abc123", "userId 123456789012", "userId 210987654321"}
		if !slices.Equal(each.Shared, wantShared) || each.Protected != "enabled-without-cooldown" || each.Tags["team"] != "platform" || each.Tags[tagState] != stateDone || each.Tags[tagRun] != "test-1" {
			t.Errorf("%+v", each)
		}
		if at, err := time.Parse(time.RFC3339, each.Deprecated); err != nil || at.Before(time.Now().Add(179*24*time.Hour)) {
			t.Errorf("%s: deprecated at %q", each.Region, each.Deprecated)
		}
		disk, err := r.server.Disk(each.Region, each.ID)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Same(t, r.disk, disk)
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	}
	home := images[slices.IndexFunc(images, func(i awstest.Image) bool { return i.Region == "eu-west-1" })]
	for name, want := range map[string]any{
		"Architecture": "x86_64", "VirtualizationType": "hvm", "EnaSupport": true, "BootMode": "uefi-preferred", "ImdsSupport": "v2.0", "RootDeviceName": "/dev/xvda",
	} {
		if home.Registered[name] != want {
			t.Errorf("%s is %v, want %v", name, home.Registered[name], want)
		}
	}
	if a := out.Artifacts[0]; a.Kind != image.AMI || a.Reference != home.ID || a.Region != "eu-west-1" || !strings.HasPrefix(a.Name, "golden-1.2.3-aws-amd64-") {
		t.Errorf("%+v", a)
	}
	if left, err := r.collect(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("gc takes %v of what was published, %v", left, err)
	}

	// The second run makes nothing.
	before := r.server.Resources()
	again := r.mustPublish()
	for _, operation := range []string{"StartSnapshot", "PutSnapshotBlock", "RegisterImage", "CopyImage", "PutParameter"} {
		if n, first := r.server.Count(operation), map[string]int{"StartSnapshot": 1, "PutSnapshotBlock": r.server.Count("PutSnapshotBlock"), "RegisterImage": r.server.Count("RegisterImage"), "CopyImage": 2, "PutParameter": 3}[operation]; n != first {
			t.Errorf("%s was called %d times", operation, n)
		}
	}
	if after := r.server.Resources(); !slices.Equal(before, after) {
		t.Errorf("before %q, after %q", before, after)
	}
	if !slices.EqualFunc(out.Artifacts, again.Artifacts, func(a, b image.Artifact) bool { return a == b }) {
		t.Errorf("%v, then %v", out.Artifacts, again.Artifacts)
	}
}
