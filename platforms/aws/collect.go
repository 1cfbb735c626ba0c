package aws

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
)

// Collect finds what dead runs left, by the journals on this machine and by
// our tags in the regions named, and removes it. What was finished is never
// touched, whoever finished it.
func Collect(ctx context.Context, s target.Sweep, limits amazon.Limits, task report.Task) (left []target.Leftover, err error) {
	regions := slices.Clone(s.Regions)
	for _, run := range s.Dead {
		for _, each := range slices.Concat(run.Made, run.Maybe) {
			regions = append(regions, each.Place)
		}
	}
	slices.Sort(regions)
	if regions = slices.Compact(regions); len(regions) == 0 {
		return nil, nil
	}
	cloud, err := amazon.Open(ctx, amazon.Access{Role: s.Access.AWSRole, Token: s.Access.IDToken, Agent: s.Access.Agent}, regions[0], limits)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, run := range s.Dead {
		b := &broom{cloud: cloud, run: run.Name, made: run.Made, maybe: run.Maybe, dry: s.OnlyReport}
		found, err := b.sweep(ctx)
		left = append(left, found...)
		if errs = append(errs, err); err == nil && !s.OnlyReport {
			errs = append(errs, run.Remove())
		}
	}
	for _, region := range s.Regions {
		runs, err := strays(ctx, cloud, region, time.Now().Add(-time.Duration(s.OlderThan)*time.Second))
		if errs = append(errs, err); err != nil {
			continue
		}
		for _, run := range runs {
			if slices.ContainsFunc(s.Dead, func(d *journal.Run) bool { return d.Name == run }) {
				continue // seen above
			}
			b := &broom{cloud: cloud, run: run, maybe: []journal.Entry{{Kind: kindImage, Place: region}}, dry: s.OnlyReport}
			found, err := b.sweep(ctx)
			left, errs = append(left, found...), append(errs, err)
		}
	}
	for _, each := range left {
		task.Note("%s: %s %s of run %s", each.Region, each.Kind, each.ID, each.Run)
	}
	return left, errors.Join(errs...)
}

// strays are the runs that left something unfinished in a region before the
// time given.
func strays(ctx context.Context, cloud *amazon.Cloud, region string, before time.Time) ([]string, error) {
	filter := []types.Filter{{Name: aws.String("tag:" + tagRun), Values: []string{"*"}}}
	var runs []string
	young := map[string]bool{}
	note := func(tags map[string]string, made time.Time) {
		switch {
		case tags[tagState] == stateDone:
		case made.After(before):
			young[tags[tagRun]] = true
		default:
			runs = append(runs, tags[tagRun])
		}
	}
	images, err := amazon.Do(ctx, cloud, region, "ec2:DescribeImages", func(ctx context.Context) (*ec2.DescribeImagesOutput, error) {
		return cloud.EC2(region).DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true), Filters: filter})
	})
	if err != nil {
		return nil, err
	}
	for _, each := range images.Images {
		note(tagsOf(each.Tags), seen(region, each).created)
	}
	snapshots, err := amazon.Do(ctx, cloud, region, "ec2:DescribeSnapshots", func(ctx context.Context) (*ec2.DescribeSnapshotsOutput, error) {
		return cloud.EC2(region).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: filter})
	})
	if err != nil {
		return nil, err
	}
	for _, each := range snapshots.Snapshots {
		note(tagsOf(each.Tags), aws.ToTime(each.StartTime))
	}
	slices.Sort(runs)
	return slices.DeleteFunc(slices.Compact(runs), func(run string) bool { return young[run] }), nil
}
