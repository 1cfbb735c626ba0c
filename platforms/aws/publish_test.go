package aws

import (
	"context"
	"encoding/json"
	"errors"
	"os"
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

// Whichever call fails, for good or with its answer lost on the way, nothing is
// left; and what can pass is got over.
func TestEveryCallFailing(t *testing.T) {
	everything := func(t testing.TB) *trial {
		r := newRun(t, awstest.Options{Lag: 1})
		r.config.CopyTo = []string{"us-east-1"}
		r.config.ShareWith, r.config.DeprecateAfter, r.config.SSMParameter, r.config.Deregister = []string{"123456789012"}, 90*day, "/images/golden", Protected
		r.server.SetParameter("us-east-1", "/images/golden", "ami-before")
		return r
	}
	r := everything(t)
	r.mustPublish()
	calls := r.server.Calls()
	t.Logf("%d calls", len(calls))
	step := 1
	if os.Getenv("IMAGEBUILD_E2E") == "" {
		step = 2 // for the time's sake
	}
	for _, effect := range []struct {
		awstest.Fault
		passes bool
	}{
		{awstest.Fault{Effect: awstest.Refuse, After: true}, false},
		{awstest.Fault{Effect: awstest.Refuse}, false},
		{awstest.Fault{Effect: awstest.Internal}, true},
		{awstest.Fault{Effect: awstest.Reset}, true},
		{awstest.Fault{Effect: awstest.Reset, After: true}, true},
		{awstest.Fault{Effect: awstest.Hang}, true},
		{awstest.Fault{Effect: awstest.Throttle}, true},
	} {
		if (effect.Effect != awstest.Refuse || !effect.After) && os.Getenv("IMAGEBUILD_E2E") == "" {
			t.Logf("%s is tried with IMAGEBUILD_E2E=1", effect.Effect)
			continue
		}
		for n := 0; n < len(calls); n += step {
			r := everything(t)
			fault := effect.Fault
			fault.Nth = n + 1
			r.server.Fail(fault)
			_, err, undone := r.publish(t.Context())
			switch {
			case undone != nil:
				t.Fatalf("%s (after: %v) of call %d, %s: %v; undo: %v", fault.Effect, fault.After, n+1, calls[n].Operation, err, undone)
			case effect.passes && err != nil:
				t.Fatalf("%s (after: %v) of call %d, %s: %v", fault.Effect, fault.After, n+1, calls[n].Operation, err)
			case effect.passes:
				continue
			case err == nil && !happens(r.server.Calls()):
				continue // polls are not always as many
			}
			if left := r.server.Resources(); err != nil && !slices.Equal(left, []string{"us-east-1 parameter /images/golden ami-before"}) {
				t.Fatalf("%s (after: %v) of call %d, %s: left %q after %v", fault.Effect, fault.After, n+1, calls[n].Operation, left, err)
			}
		}
	}
}

// Cancelled during whichever call, before or after it took effect: nothing is
// left.
func TestCancelledDuringEveryCall(t *testing.T) {
	r := newRun(t, awstest.Options{Lag: 1}).everything()
	r.mustPublish()
	step := 1
	if os.Getenv("IMAGEBUILD_E2E") == "" {
		step = 5 // for the time's sake
	}
	calls := r.server.Calls()
	for n := 0; n < len(calls); n += step {
		for _, after := range []bool{false, true} {
			r := newRun(t, awstest.Options{Lag: 1}).everything()
			ctx, cancel := context.WithCancel(t.Context())
			r.server.Fail(awstest.Fault{Nth: n + 1, Effect: awstest.Internal, After: after, Then: cancel})
			_, err, undone := r.publish(ctx)
			cancel()
			if undone != nil || err != nil && !errors.Is(err, context.Canceled) {
				t.Fatalf("cancelled during call %d, %s (after: %t): %v; undo: %v", n+1, calls[n].Operation, after, err, undone)
			}
			if left := r.server.Resources(); err != nil && len(left) != 0 {
				t.Fatalf("cancelled during call %d, %s (after: %t): left %q", n+1, calls[n].Operation, after, left)
			}
		}
	}
}

// happens tells whether a fault came to pass at all.
func happens(calls []awstest.Call) bool {
	return slices.ContainsFunc(calls, func(c awstest.Call) bool { return c.Fault != "" })
}
