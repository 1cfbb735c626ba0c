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
		runs, maybe, err := strays(ctx, cloud, region, time.Now().Add(-time.Duration(s.OlderThan)*time.Second), task)
		if errs = append(errs, err); err != nil {
			continue
		}
		for _, run := range runs {
			if slices.ContainsFunc(s.Dead, func(d *journal.Run) bool { return d.Name == run }) {
				continue // seen above
			}
			b := &broom{cloud: cloud, run: run, maybe: maybe, dry: s.OnlyReport}
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
// time given, and what of theirs may be there: that can be looked for.
func strays(ctx context.Context, cloud *amazon.Cloud, region string, before time.Time, task report.Task) (runs []string, maybe []journal.Entry, err error) {
	filter := []types.Filter{{Name: aws.String("tag:" + tagRun), Values: []string{"*"}}}
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
		return nil, nil, err
	}
	for _, each := range images.Images {
		note(tagsOf(each.Tags), seen(region, each).created)
	}
	snapshots, err := amazon.Do(ctx, cloud, region, "ec2:DescribeSnapshots", func(ctx context.Context) (*ec2.DescribeSnapshotsOutput, error) {
		return cloud.EC2(region).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: filter})
	})
	if err != nil {
		return nil, nil, err
	}
	for _, each := range snapshots.Snapshots {
		note(tagsOf(each.Tags), aws.ToTime(each.StartTime))
	}
	maybe = []journal.Entry{{Kind: kindImage, Place: region}}
	switch err := strayMachines(ctx, cloud, region, filter, note); {
	case amazon.Denied(err): // who may not look has made none
		task.Note("%s: instances, security groups and key pairs are not looked for: %v", region, err)
	case err != nil:
		return nil, nil, err
	default:
		maybe = append(maybe, journal.Entry{Kind: kindInstance, Place: region})
	}
	slices.Sort(runs)
	return slices.DeleteFunc(slices.Compact(runs), func(run string) bool { return young[run] }), maybe, nil
}

// strayMachines notes what exists only while an image is made.
func strayMachines(ctx context.Context, cloud *amazon.Cloud, region string, filter []types.Filter, note func(tags map[string]string, made time.Time)) error {
	instances, err := describeInstances(ctx, cloud, region, append(filter, living)...)
	if err != nil {
		return err
	}
	for _, each := range instances {
		note(tagsOf(each.Tags), aws.ToTime(each.LaunchTime))
	}
	groups, err := describeGroups(ctx, cloud, region, filter...)
	if err != nil {
		return err
	}
	keys, err := describeKeys(ctx, cloud, region, filter...)
	if err != nil {
		return err
	}
	for _, tags := range slices.Concat(mapped(groups, func(g types.SecurityGroup) []types.Tag { return g.Tags }), mapped(keys, func(k types.KeyPairInfo) []types.Tag { return k.Tags })) {
		began, _ := time.Parse(time.RFC3339, tags[tagBegan]) // zero, long ago, for one that somebody took the tag from
		note(tags, began)
	}
	return nil
}

func mapped[T any](list []T, tags func(T) []types.Tag) []map[string]string {
	all := make([]map[string]string, len(list))
	for i, each := range list {
		all[i] = tagsOf(tags(each))
	}
	return all
}
