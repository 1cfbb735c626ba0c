package aws

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/retry"
	"github.com/org/imagebuild-action/internal/target"
)

// maxEmptyLooks is how often something that was made, or may have been, is
// looked for in vain: what is new does not show at once.
const maxEmptyLooks = 5

// broom removes what one run made: newest first, and by the run's tag too,
// because an answer may have been lost.
type broom struct {
	cloud *amazon.Cloud
	run   string
	made  []journal.Entry
	maybe []journal.Entry
	own   bool // we are that run: what is called done goes, too
	dry   bool
	gone  func(journal.Entry) error
	found []target.Leftover
}

func (b *broom) sweep(ctx context.Context) ([]target.Leftover, error) {
	var errs []error
	for _, each := range slices.Backward(b.made) {
		if each.Kind == kindParameter {
			errs = append(errs, b.restore(ctx, each))
		}
	}
	for _, region := range b.regions() {
		if b.hasMachines(region) { // first: they cost most
			errs = append(errs, b.machines(ctx, region))
		}
		errs = append(errs, b.region(ctx, region))
	}
	return b.found, errors.Join(errs...)
}

// revoke takes the word back that things are done.
func (b *broom) revoke(ctx context.Context, named map[string]string) error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(named)) {
		region := named[id]
		_, err := amazon.Do(ctx, b.cloud, region, "ec2:CreateTags", func(ctx context.Context) (*ec2.CreateTagsOutput, error) {
			return b.cloud.EC2(region).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String(tagState), Value: aws.String(stateUndone)}}})
		})
		if !amazon.Is(err, "InvalidAMIID.NotFound", "InvalidSnapshot.NotFound") {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (b *broom) regions() []string {
	var all []string
	for _, each := range slices.Concat(b.made, b.maybe) {
		if each.Kind != kindParameter {
			all = append(all, each.Place)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// restore gives a parameter the value that it had, if it still has ours.
func (b *broom) restore(ctx context.Context, e journal.Entry) error {
	value, err := parameterValue(ctx, b.cloud, e.Place, e.ID)
	ours := slices.ContainsFunc(b.made, func(m journal.Entry) bool { return m.Kind == kindImage && m.Place == e.Place && m.ID == value })
	if err != nil {
		return err
	}
	if kept, err := b.kept(ctx, e.Place, value); err != nil || kept {
		return err
	}
	// A value that is being validated does not show yet, and may be ours.
	if !ours && value != e.Before {
		return nil
	}
	b.note(kindParameter, e.Place, e.ID)
	if b.dry {
		return nil
	}
	if e.Before == "" {
		_, err = amazon.Do(ctx, b.cloud, e.Place, "ssm:DeleteParameter", func(ctx context.Context) (*ssm.DeleteParameterOutput, error) {
			return b.cloud.SSM(e.Place).DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(e.ID)})
		})
		if amazon.Is(err, "ParameterNotFound") {
			err = nil
		}
	} else {
		_, err = amazon.Do(ctx, b.cloud, e.Place, "ssm:PutParameter", func(ctx context.Context) (*ssm.PutParameterOutput, error) {
			return b.cloud.SSM(e.Place).PutParameter(ctx, &ssm.PutParameterInput{
				Name: aws.String(e.ID), Value: aws.String(e.Before), Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true),
			})
		})
	}
	if err != nil {
		return err
	}
	return b.away(e)
}

// kept tells whether an image was finished by a later run, which a dead one's
// journal does not know.
func (b *broom) kept(ctx context.Context, region, id string) (bool, error) {
	if b.own || id == "" {
		return false, nil
	}
	images, err := b.look(ctx, region, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("image-id"), Values: []string{id}}}})
	return err == nil && len(images) > 0 && tagsOf(images[0].Tags)[tagState] == stateDone, err
}

// region removes images, then snapshots, until nothing shows any more.
func (b *broom) region(ctx context.Context, region string) error {
	images, snapshots := b.ids(kindImage, region), b.ids(kindSnapshot, region)
	unsure := slices.ContainsFunc(b.maybe, func(e journal.Entry) bool { return e.Place == region && !isMachine(e) })
	return b.rounds(ctx, region, unsure, func(ctx context.Context) (removed, left, unseen int, err error) {
		removed, left, err = b.round(ctx, region, &images, &snapshots)
		return removed, left, len(images) + len(snapshots), err
	})
}

// rounds looks and removes until nothing shows any more. unseen is what should
// be there and does not show yet, or never did.
func (b *broom) rounds(ctx context.Context, region string, unsure bool, round func(context.Context) (removed, left, unseen int, err error)) error {
	wait := b.cloud.Limits.Poll
	for empty := 0; ; {
		removed, left, unseen, err := round(ctx)
		if err != nil {
			return err
		}
		if removed > 0 {
			empty = 0
		} else {
			empty++
		}
		settled := !unsure && unseen == 0 && left == 0
		if b.dry || settled || empty >= maxEmptyLooks && left == 0 {
			return nil
		}
		if empty >= 4*maxEmptyLooks {
			return fault.Errorf(fault.Remote, "%s: %d things of run %s cannot be removed yet; run: imagebuild gc --platform aws", region, left, b.run)
		}
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, b.cloud.Limits.MaxPoll)
	}
}

func (b *broom) ids(kind, region string) []string {
	var ids []string
	for _, each := range b.made {
		if each.Kind == kind && each.Place == region {
			ids = append(ids, each.ID)
		}
	}
	return ids
}

// round removes what it sees. left counts what is there and could not go yet.
func (b *broom) round(ctx context.Context, region string, images, snapshots *[]string) (removed, left int, err error) {
	byTag := types.Filter{Name: aws.String("tag:" + tagRun), Values: []string{b.run}}
	shown, err := b.look(ctx, region, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true), Filters: []types.Filter{byTag}})
	if err != nil {
		return 0, 0, err
	}
	stay, err := b.finished(ctx, region, *images, *snapshots)
	if err != nil {
		return 0, 0, err
	}
	for _, each := range shown {
		a := seen(region, each)
		if a.done && !b.own {
			stay[a.id], stay[a.snapshot] = true, true
			continue
		}
		*images = add(*images, a.id)
		*snapshots = add(*snapshots, a.snapshot)
		if a.protection != "" && a.protection != "disabled" && !b.dry {
			if err := b.unprotect(ctx, region, a.id); err != nil {
				return removed, left, err
			}
		}
	}
	stored, err := b.stored(ctx, region, byTag)
	if err != nil {
		return removed, left, err
	}
	for _, each := range stored {
		if tagsOf(each.Tags)[tagState] == stateDone && !b.own {
			stay[aws.ToString(each.SnapshotId)] = true
			continue
		}
		*snapshots = add(*snapshots, aws.ToString(each.SnapshotId))
	}
	for _, kind := range []struct {
		name   string
		ids    *[]string
		remove func(ctx context.Context, region, id string) (bool, error)
	}{{kindImage, images, b.deregister}, {kindSnapshot, snapshots, b.deleteSnapshot}} {
		for _, id := range slices.Clone(*kind.ids) {
			if id == "" || stay[id] {
				*kind.ids = drop(*kind.ids, id)
				continue
			}
			gone, err := kind.remove(ctx, region, id)
			switch {
			case inUse(err):
				left++
			case err != nil:
				return removed, left, err
			case gone:
				removed++
				*kind.ids = drop(*kind.ids, id)
				b.note(kind.name, region, id)
				if err := b.away(journal.Entry{Kind: kind.name, Place: region, ID: id}); err != nil {
					return removed, left, err
				}
			}
		}
	}
	return removed, left, nil
}

// finished are those of a dead run's things that another run went on with and
// finished: they have that one's tags now.
func (b *broom) finished(ctx context.Context, region string, images, snapshots []string) (map[string]bool, error) {
	stay := map[string]bool{}
	if b.own {
		return stay, nil
	}
	if len(images) > 0 {
		shown, err := b.look(ctx, region, &ec2.DescribeImagesInput{
			Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true), Filters: []types.Filter{{Name: aws.String("image-id"), Values: images}},
		})
		if err != nil {
			return nil, err
		}
		for _, each := range shown {
			if a := seen(region, each); a.done {
				stay[a.id], stay[a.snapshot] = true, true
			}
		}
	}
	if len(snapshots) > 0 {
		stored, err := b.stored(ctx, region, types.Filter{Name: aws.String("snapshot-id"), Values: snapshots})
		if err != nil {
			return nil, err
		}
		for _, each := range stored {
			if tagsOf(each.Tags)[tagState] == stateDone {
				stay[aws.ToString(each.SnapshotId)] = true
			}
		}
	}
	return stay, nil
}

func (b *broom) stored(ctx context.Context, region string, filter types.Filter) ([]types.Snapshot, error) {
	out, err := amazon.Do(ctx, b.cloud, region, "ec2:DescribeSnapshots", func(ctx context.Context) (*ec2.DescribeSnapshotsOutput, error) {
		return b.cloud.EC2(region).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{filter}})
	})
	if err != nil {
		return nil, err
	}
	return out.Snapshots, nil
}

func add(ids []string, more ...string) []string {
	for _, id := range more {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func drop(ids []string, id string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(each string) bool { return each == id })
}

func (b *broom) look(ctx context.Context, region string, in *ec2.DescribeImagesInput) ([]types.Image, error) {
	out, err := amazon.Do(ctx, b.cloud, region, "ec2:DescribeImages", func(ctx context.Context) (*ec2.DescribeImagesOutput, error) {
		return b.cloud.EC2(region).DescribeImages(ctx, in)
	})
	if err != nil {
		return nil, err
	}
	return out.Images, nil
}

func (b *broom) unprotect(ctx context.Context, region, id string) error {
	_, err := amazon.Do(ctx, b.cloud, region, "ec2:DisableImageDeregistrationProtection", func(ctx context.Context) (*ec2.DisableImageDeregistrationProtectionOutput, error) {
		return b.cloud.EC2(region).DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: aws.String(id)})
	})
	return err
}

// deregister reports whether it is gone; what does not show yet is not.
func (b *broom) deregister(ctx context.Context, region, id string) (bool, error) {
	if b.dry {
		return true, nil
	}
	_, err := amazon.Do(ctx, b.cloud, region, "ec2:DeregisterImage", func(ctx context.Context) (*ec2.DeregisterImageOutput, error) {
		return b.cloud.EC2(region).DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)})
	})
	if amazon.Is(err, "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable") {
		return false, nil
	}
	return err == nil, err
}

func (b *broom) deleteSnapshot(ctx context.Context, region, id string) (bool, error) {
	if b.dry {
		return true, nil
	}
	_, err := amazon.Do(ctx, b.cloud, region, "ec2:DeleteSnapshot", func(ctx context.Context) (*ec2.DeleteSnapshotOutput, error) {
		return b.cloud.EC2(region).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
	})
	if amazon.Is(err, "InvalidSnapshot.NotFound") {
		return false, nil
	}
	return err == nil, err
}

func inUse(err error) bool { return amazon.Is(err, "InvalidSnapshot.InUse") }

func (b *broom) note(kind, region, id string) {
	b.found = append(b.found, target.Leftover{Kind: kind, Region: region, ID: id, Run: b.run, Gone: !b.dry})
}

func (b *broom) away(e journal.Entry) error {
	if b.gone == nil || b.dry {
		return nil
	}
	return b.gone(e)
}
