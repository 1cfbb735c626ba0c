package ebsdirect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/retry"
)

// Request is a disk on its way into a snapshot.
type Request struct {
	Region   string
	Snapshot string // that Start began
	Disk     image.Disk
	Progress func(doneBytes, totalBytes int64) // nil shows nothing
}

// Report is how an upload went.
type Report struct {
	Sum
	Attempts   int64 // puts, those that failed included
	Throttled  int64
	Unanswered int64
	Failed     int64 // answered with an error that passed
	Peak       int   // puts in flight at once
	Duration   time.Duration
}

// maxFailures is how often one block may be answered with an error of the
// service's own before it is believed.
const maxFailures = 30

// right is the call's name in IAM.
const right = "ebs:PutSnapshotBlock"

// Upload puts every block of the disk that is not zero, and returns their sum
// for Complete. Blocks that are there already are put again, which changes
// nothing.
func Upload(ctx context.Context, cloud *amazon.Cloud, r Request) (Report, error) {
	u := &uploader{cloud: cloud, Request: r, gate: newGate(), start: time.Now()}
	u.last.Store(u.start.UnixNano())
	total, err := dataBytes(r.Disk)
	if err != nil {
		return Report{}, err
	}
	u.total = total
	sum, err := eachBlock(ctx, r.Disk, maxFlight, u.send)
	u.report.Sum, u.report.Peak, u.report.Duration = sum, u.gate.peak, time.Since(u.start)
	u.report.Attempts, u.report.Throttled, u.report.Unanswered, u.report.Failed = u.attempts.Load(), u.throttled.Load(), u.unanswered.Load(), u.failed.Load()
	return u.report, err
}

type uploader struct {
	Request
	cloud  *amazon.Cloud
	gate   *gate
	start  time.Time
	total  int64
	report Report

	last                                              atomic.Int64 // when a block was taken, in nanoseconds
	done, attempts, throttled, unanswered, failed, ok atomic.Int64
}

// send puts one block until it is taken.
func (u *uploader) send(ctx context.Context, b block, data []byte) error {
	wait := min(u.cloud.Limits.Delay, 200*time.Millisecond)
	for failures := 0; ; {
		err := u.put(ctx, b, data)
		if err == nil {
			u.last.Store(time.Now().UnixNano())
			u.ok.Add(1)
			if u.Progress != nil {
				u.Progress(min(u.done.Add(BlockBytes), u.total), u.total)
			}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case amazon.Throttled(err), amazon.Slow(err):
		case u.notYet(err):
		case !amazon.Retryable(err):
			return u.cloud.Explain(u.Region, right, err)
		default:
			failures++
		}
		if idle := time.Since(time.Unix(0, u.last.Load())); idle > u.cloud.Limits.Stall || failures > maxFailures {
			return fault.Errorf(fault.Remote, "no block was taken for %s after %d of them; run the build again, which goes on from here: %w", idle.Round(time.Second), u.ok.Load(), u.cloud.Explain(u.Region, right, err))
		}
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, u.cloud.Limits.MaxDelay)
	}
}

// notYet: for a minute or two after StartSnapshot some of the service's hosts
// do not know of it (aws-sdk's and coldsnap's users report up to two).
func (u *uploader) notYet(err error) bool {
	return amazon.Is(err, "ResourceNotFoundException") && time.Since(u.start) < u.cloud.Limits.Appear
}

// put is one attempt.
func (u *uploader) put(ctx context.Context, b block, data []byte) error {
	generation, err := u.gate.enter(ctx)
	if err != nil {
		return err
	}
	u.attempts.Add(1)
	_, err = amazon.Attempt(ctx, u.cloud.Limits.Attempt, func(ctx context.Context) (*ebs.PutSnapshotBlockOutput, error) {
		return u.cloud.EBS(u.Region).PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId: aws.String(u.Snapshot), BlockIndex: aws.Int32(b.index), BlockData: bytes.NewReader(data), DataLength: aws.Int32(BlockBytes),
			Checksum: aws.String(b.checksum), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
	})
	how := taken
	switch {
	case err == nil:
	case amazon.Throttled(err):
		how = throttled
		u.throttled.Add(1)
	case amazon.Slow(err):
		how = unanswered
		u.unanswered.Add(1)
	default:
		how = failed
		u.failed.Add(1)
	}
	u.gate.leave(generation, how)
	return err
}

// dataBytes is how much of a disk may be data, for the progress.
func dataBytes(disk image.Disk) (int64, error) {
	blocks := image.NewBlocks(disk, BlockBytes)
	for n := int64(0); ; n += BlockBytes {
		_, err := blocks.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
