package ebsdirect_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/ebsdirect"
	"github.com/org/imagebuild-action/internal/testkit"
)

const region = "eu-west-1"

func open(t testing.TB, o awstest.Options, limits amazon.Limits) (*awstest.Server, *amazon.Cloud) {
	t.Helper()
	server := awstest.New(t, o)
	server.Setenv(t, os.Environ())
	cloud, err := amazon.Open(t.Context(), amazon.Access{}, region, limits)
	if err != nil {
		t.Fatal(err)
	}
	return server, cloud
}

func start(t testing.TB, cloud *amazon.Cloud) string {
	t.Helper()
	id, err := ebsdirect.Start(t.Context(), cloud, ebsdirect.New{Region: region, SizeGiB: 1, Description: "test", Token: t.Name(), Minutes: 60})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// quick are limits for a cloud on loopback.
var quick = amazon.Limits{Attempt: 300 * time.Millisecond, Delay: 5 * time.Millisecond, MaxDelay: 200 * time.Millisecond, Poll: time.Millisecond, MaxPoll: 10 * time.Millisecond}

// blocks is a disk with n blocks of data, some of them apart.
func blocks(n int) *testkit.Disk {
	disk := testkit.NewDisk(1 << 30)
	for i := range n {
		disk.Put(int64(i)*3*ebsdirect.BlockBytes+4096, testkit.Noise(uint64(i), 8192))
	}
	return disk
}

func upload(ctx context.Context, t testing.TB, cloud *amazon.Cloud, disk *testkit.Disk) (ebsdirect.Report, error) {
	t.Helper()
	id := start(t, cloud)
	report, err := ebsdirect.Upload(ctx, cloud, ebsdirect.Request{Region: region, Snapshot: id, Disk: disk})
	if err != nil {
		return report, err
	}
	sum, err := ebsdirect.Checksum(ctx, disk)
	if err != nil || sum != report.Sum {
		t.Errorf("the disk's checksum is %v, %v; what was sent has %v", sum, err, report.Sum)
	}
	return report, ebsdirect.Complete(ctx, cloud, region, id, report.Sum)
}

func TestUpload(t *testing.T) {
	_, cloud := open(t, awstest.Options{Lag: 3}, quick)
	report, err := upload(t.Context(), t, cloud, blocks(40))
	if err != nil || report.Blocks != 40 {
		t.Fatalf("%+v, %v", report, err)
	}
}

// Throttled to ten puts a second, five percent never answered, five percent
// answered with 500: it finishes, and in not much more than the throttle's time.
func TestUploadThrottledHangingAndFailing(t *testing.T) {
	_, cloud := open(t, awstest.Options{PutsPerSecond: 10, Chaos: []awstest.Chaos{
		{Seed: "hang", OneIn: 20, Operation: "PutSnapshotBlock", Effect: awstest.Hang}, {Seed: "500", OneIn: 20, Operation: "PutSnapshotBlock", Effect: awstest.Internal},
	}}, quick)
	report, err := upload(t.Context(), t, cloud, blocks(12))
	if err != nil || report.Throttled == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	t.Logf("%d blocks in %s: %.1f a second, %d attempts, %d throttled, %d unanswered, %d failed, at most %d in flight", report.Blocks, report.Duration.Round(time.Millisecond),
		float64(report.Blocks)/report.Duration.Seconds(), report.Attempts, report.Throttled, report.Unanswered, report.Failed, report.Peak)
}

func TestUploadEndsWithWhatCannotPass(t *testing.T) {
	for name, tc := range map[string]struct {
		fault  awstest.Fault
		deny   []string
		limits amazon.Limits
		want   string
	}{
		"refused":         {fault: awstest.Fault{Operation: "PutSnapshotBlock", Nth: 7, Effect: awstest.Refuse}, want: "ValidationException"},
		"a missing right": {deny: []string{"ebs:PutSnapshotBlock"}, want: "the right ebs:PutSnapshotBlock is missing"},
		"never answered":  {fault: awstest.Fault{Operation: "PutSnapshotBlock", Nth: 3, Times: -1, Effect: awstest.Hang}, limits: amazon.Limits{Attempt: 20 * time.Millisecond, Stall: 100 * time.Millisecond, Delay: time.Millisecond}, want: "no block was taken for"},
	} {
		t.Run(name, func(t *testing.T) {
			limits := quick
			if tc.limits.Stall != 0 {
				limits = tc.limits
			}
			server, cloud := open(t, awstest.Options{Deny: tc.deny}, limits)
			if tc.fault.Effect != "" {
				server.Fail(tc.fault)
			}
			if _, err := upload(t.Context(), t, cloud, blocks(20)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestUploadIsCancelled(t *testing.T) {
	server, cloud := open(t, awstest.Options{}, quick)
	server.Fail(awstest.Fault{Operation: "PutSnapshotBlock", Nth: 5, Times: -1, Effect: awstest.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	id := start(t, cloud)
	if _, err := ebsdirect.Upload(ctx, cloud, ebsdirect.Request{Region: region, Snapshot: id, Disk: blocks(20)}); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}
