package aws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/ebsdirect"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/size"
)

// timeoutMinutes is how long AWS keeps a snapshot that nothing is put into.
const timeoutMinutes = 60

// snapshot writes the disk, or finds that a run before did.
func (w *work) snapshot(ctx context.Context, disk image.Disk) (id string, err error) {
	region := w.config.Region
	found, err := w.findSnapshot(ctx)
	if err != nil {
		return "", err
	}
	if found != nil {
		id = aws.ToString(found.SnapshotId)
		w.task.Note("%s: a run before began with %s (%s); going on with it", region, id, found.State)
	} else if id, err = w.start(ctx, disk); err != nil {
		return "", err
	}
	if found == nil || found.State == types.SnapshotStatePending {
		if err := w.upload(ctx, id, disk); err != nil && !w.completed(ctx, id) {
			return "", err
		}
	}
	return id, report.Do(w.task, "snapshot", func(task report.Task) error { return w.settled(ctx, id, task) })
}

// findSnapshot looks for one of the same plan and the same bytes.
func (w *work) findSnapshot(ctx context.Context) (*types.Snapshot, error) {
	region := w.config.Region
	out, err := amazon.Do(ctx, w.cloud, region, "ec2:DescribeSnapshots", func(ctx context.Context) (*ec2.DescribeSnapshotsOutput, error) {
		return w.cloud.EC2(region).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{
			{Name: aws.String("tag:" + tagCell), Values: []string{w.t.CellDigest}},
			{Name: aws.String("tag:" + tagDisk), Values: []string{w.sum.Checksum}},
			{Name: aws.String("status"), Values: []string{"pending", "completed"}},
		}})
	})
	if err != nil || len(out.Snapshots) == 0 {
		return nil, err
	}
	// What is complete comes first, then what is oldest, so that two who look agree.
	slices.SortFunc(out.Snapshots, func(a, b types.Snapshot) int {
		return cmp.Or(cmp.Compare(a.State, b.State), aws.ToTime(a.StartTime).Compare(aws.ToTime(b.StartTime)), cmp.Compare(aws.ToString(a.SnapshotId), aws.ToString(b.SnapshotId)))
	})
	return &out.Snapshots[0], nil
}

func (w *work) start(ctx context.Context, disk image.Disk) (string, error) {
	region := w.config.Region
	if err := w.begin(kindSnapshot, region); err != nil {
		return "", err
	}
	id, err := ebsdirect.Start(ctx, w.cloud, ebsdirect.New{
		Region: region, SizeGiB: wholeGiB(disk.Size()), Description: w.description(), Token: w.t.Run + "-" + w.t.CellDigest, Tags: w.tags(),
		Encrypted: w.config.Encrypted, Key: w.config.KMSKeys[region], Minutes: timeoutMinutes,
	})
	if err != nil {
		return "", err
	}
	return id, w.note(journal.Entry{Kind: kindSnapshot, Place: region, ID: id})
}

func wholeGiB(sizeBytes int64) int64 { return (sizeBytes + int64(size.GiB) - 1) / int64(size.GiB) }

func (w *work) description() string {
	return cmp.Or(w.config.Description, fmt.Sprintf("%s %s", w.t.Name, w.t.Version))
}

func (w *work) upload(ctx context.Context, id string, disk image.Disk) error {
	return report.Do(w.task, "upload", func(task report.Task) error {
		r, err := ebsdirect.Upload(ctx, w.cloud, ebsdirect.Request{Region: w.config.Region, Snapshot: id, Disk: disk, Progress: task.Progress})
		if err != nil {
			return err
		}
		if r.Sum != w.sum {
			return fault.Errorf(fault.Bug, "the disk changed while it was read: %s, then %s", w.sum, r.Sum)
		}
		data := size.Bytes(r.Blocks * ebsdirect.BlockBytes)
		task.Note("%s in %s (%s/s), at most %d at once; %d throttled, %d unanswered, %d failed and sent again", data.Human(), r.Duration.Round(time.Millisecond),
			size.Bytes(float64(data)/r.Duration.Seconds()).Human(), r.Peak, r.Throttled, r.Unanswered, r.Failed)
		return ebsdirect.Complete(ctx, w.cloud, w.config.Region, id, r.Sum)
	})
}

// completed tells whether somebody else's run of the same plan was faster.
func (w *work) completed(ctx context.Context, id string) bool {
	if ctx.Err() != nil {
		return false
	}
	state, _, err := w.snapshotState(ctx, id)
	return err == nil && state == types.SnapshotStateCompleted
}

// settled waits until AWS has stored all of it.
func (w *work) settled(ctx context.Context, id string, task report.Task) error {
	begun := time.Now()
	return w.cloud.Poll(ctx, w.cloud.Limits.Settle, "snapshot "+id, func(ctx context.Context) (bool, error) {
		state, why, err := w.snapshotState(ctx, id)
		switch {
		case amazon.Is(err, "InvalidSnapshot.NotFound") && time.Since(begun) < w.cloud.Limits.Appear:
			return false, nil // not everywhere yet
		case err != nil:
			return false, err
		case state == types.SnapshotStateError:
			return false, fault.Errorf(fault.Remote, "%s: AWS gave up snapshot %s: %s; run the build again", w.config.Region, id, cmp.Or(why, "it does not say why"))
		}
		if state == types.SnapshotStateCompleted {
			task.Note("%s in %s is complete", id, w.config.Region)
		}
		return state == types.SnapshotStateCompleted, nil
	})
}

func (w *work) snapshotState(ctx context.Context, id string) (state types.SnapshotState, why string, err error) {
	region := w.config.Region
	out, err := amazon.Do(ctx, w.cloud, region, "ec2:DescribeSnapshots", func(ctx context.Context) (*ec2.DescribeSnapshotsOutput, error) {
		return w.cloud.EC2(region).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	})
	if err != nil || len(out.Snapshots) == 0 {
		return types.SnapshotStatePending, "", err
	}
	return out.Snapshots[0].State, aws.ToString(out.Snapshots[0].StateMessage), nil
}
