package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/ebsdirect"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
)

// Our tags. Nobody else's begin like them.
const (
	tagPrefix = "imagebuild:"
	tagRun    = tagPrefix + "run"    // that made it
	tagPlan   = tagPrefix + "plan"   // digest of the whole plan
	tagCell   = tagPrefix + "cell"   // digest of what decides the bytes and the registration
	tagDisk   = tagPrefix + "disk"   // checksum of the disk's blocks
	tagFrom   = tagPrefix + "source" // the AMI that it was made of, if it was
	tagBegan  = tagPrefix + "began"  // when, of what exists only while an image is made
	tagState  = tagPrefix + "state"  // done, when everything is
	stateDone = "done"
	// stateUndone is of what was done in a build that failed after all.
	stateUndone = "undone"
)

// Kinds of a journal's entries.
const (
	kindSnapshot  = "snapshot"
	kindImage     = "image"
	kindParameter = "parameter"
	kindInstance  = "instance"
	kindGroup     = "security-group"
	kindKey       = "key-pair"
)

// maxRegions are copied to at once.
const maxRegions = 8

// open connects to AWS.
func (p *Platform) open(ctx context.Context, access target.Access) (*amazon.Cloud, error) {
	return amazon.Open(ctx, amazon.Access{Role: access.AWSRole, Token: access.IDToken, Agent: access.Agent}, p.config.Region, p.Limits)
}

// work is one publication in progress.
type work struct {
	*Platform
	cloud *amazon.Cloud
	t     target.Publication
	task  report.Task
	sum   ebsdirect.Sum // of the disk that is written; zero where an instance is the source
	from  string        // the AMI that the image is made of; empty where a disk is

	mu    sync.Mutex
	made  []journal.Entry   // by this run, oldest first
	maybe []journal.Entry   // begun by this run, with no word of how it ended
	named map[string]string // what this run called done: ids to regions
}

// ami is one image on its way.
type ami struct {
	region, id, snapshot string
	created              time.Time
	done                 bool // by its tag
	protection           string
	disk                 string // checksum, by its tag
}

// Publish makes the AMIs, or finds them.
func (p *Platform) Publish(ctx context.Context, t target.Publication, task report.Task) (target.Published, error) {
	if err := p.fits(t); err != nil {
		return target.Published{}, err
	}
	cloud, err := p.open(ctx, t.Access)
	if err != nil {
		return target.Published{}, err
	}
	w := &work{Platform: p, cloud: cloud, t: t, task: task}
	t.Undo("what run "+t.Run+" made in AWS", w.takeBack)
	home, err := w.home(ctx)
	if err != nil {
		return target.Published{}, err
	}
	images, err := w.copies(ctx, home)
	if err != nil {
		return target.Published{}, err
	}
	if err := w.distribute(ctx, images); err != nil {
		return target.Published{}, err
	}
	return w.published(images)
}

// copies makes copies of the AMI where the template says, or finds them.
func (w *work) copies(ctx context.Context, home *ami) ([]*ami, error) {
	images := make([]*ami, len(w.config.regions()))
	images[0] = home
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRegions)
	for i, region := range w.config.CopyTo {
		group.Go(func() error {
			return report.Do(w.task, "copy to "+region, func(report.Task) (err error) {
				images[i+1], err = w.copyTo(ctx, region, home.id)
				return err
			})
		})
	}
	return images, group.Wait()
}

// home is the image in the template's region.
func (w *work) home(ctx context.Context) (*ami, error) {
	region := w.config.Region
	disk, err := w.t.Disks.Disk(ctx, target.Canonical)
	if err != nil {
		return nil, err
	}
	err = report.Do(w.task, "checksum", func(report.Task) (err error) {
		w.sum, err = ebsdirect.Checksum(ctx, disk)
		return err
	})
	if err != nil {
		return nil, err
	}
	found, err := w.findImage(ctx, region)
	if err != nil {
		return nil, err
	}
	if found != nil {
		w.task.Note("%s: %s is there already: %s", region, w.imageName(w.t), found.id)
		if found.disk != "" && found.disk != w.sum.Checksum {
			w.task.Warn("%s: %s was made from the same plan, but of other bytes: the packages have moved on since; it stays as it is, and a new version gets the new ones", region, found.id)
		}
		return w.ready(ctx, found)
	}
	snapshot, err := w.snapshot(ctx, disk)
	if err != nil {
		return nil, err
	}
	var made *ami
	err = report.Do(w.task, "register", func(task report.Task) (err error) {
		if made, err = w.register(ctx, snapshot); err != nil {
			return err
		}
		task.Note("%s in %s", made.id, region)
		made, err = w.ready(ctx, made)
		return err
	})
	return made, err
}

// imageName is the AMI's name: for people, with the digest for us.
func (p *Platform) imageName(t target.Publication) string {
	name := cmp.Or(p.config.AMIName, notInNames.ReplaceAllString(fmt.Sprintf("%s-%s-%s-%s", t.Name, t.Version, t.Platform, t.Arch), "-"))
	return name + "-" + t.CellDigest[:12]
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9()\[\] ./'@_-]`) //nolint:gochecknoglobals // a constant

// tags are everything's.
func (w *work) tags() map[string]string {
	tags := map[string]string{"Name": w.imageName(w.t)}
	maps.Copy(tags, w.config.Tags)
	tags[tagRun], tags[tagPlan], tags[tagCell] = w.t.Run, w.t.PlanDigest, w.t.CellDigest
	if w.sum.Checksum != "" {
		tags[tagDisk] = w.sum.Checksum
	}
	if w.from != "" {
		tags[tagFrom] = w.from
	}
	return tags
}

func (w *work) ec2Tags() []types.Tag { return ec2Tags(w.tags()) }

func ec2Tags(tags map[string]string) []types.Tag {
	var list []types.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}

func tagsOf(list []types.Tag) map[string]string {
	tags := map[string]string{}
	for _, each := range list {
		tags[aws.ToString(each.Key)] = aws.ToString(each.Value)
	}
	return tags
}

// begin notes in the journal that something is about to be made.
func (w *work) begin(kind, region string) error {
	e := journal.Entry{Kind: kind, Place: region}
	w.mu.Lock()
	w.maybe = append(w.maybe, e)
	w.mu.Unlock()
	return w.t.Journal.Will(e)
}

// note notes in the journal that something was made.
func (w *work) note(e journal.Entry) error {
	w.mu.Lock()
	w.made = append(w.made, e)
	w.maybe = without(w.maybe, e)
	w.mu.Unlock()
	return w.t.Journal.Made(e)
}

// isMade tells whether this run made it.
func (w *work) isMade(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.made, func(e journal.Entry) bool { return e.ID == id })
}

// without leaves the first entry out that is of the same kind and place.
func without(list []journal.Entry, e journal.Entry) []journal.Entry {
	for i, each := range list {
		if each.Kind == e.Kind && each.Place == e.Place {
			return slices.Delete(slices.Clone(list), i, i+1)
		}
	}
	return list
}

// takeBack removes what this run made.
func (w *work) takeBack(ctx context.Context) error {
	w.mu.Lock()
	b := &broom{cloud: w.cloud, run: w.t.Run, made: slices.Clone(w.made), maybe: slices.Clone(w.maybe), own: true, gone: w.t.Journal.Gone}
	named := maps.Clone(w.named)
	w.mu.Unlock()
	// If it cannot be removed, it must not be taken for something that is meant
	// to stay.
	err := b.revoke(ctx, named)
	_, swept := b.sweep(ctx)
	return errors.Join(swept, err)
}
