package build

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/bootfiles"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/undo"
	"github.com/org/imagebuild-action/internal/verify"
	"github.com/org/imagebuild-action/platforms"
)

// undoLimit is how long it may take to take back what was made in one cloud:
// it shows late, and goes late.
const undoLimit = 10 * time.Minute

// ErrLeft says that a build that failed or was cancelled has left something in
// a cloud.
var ErrLeft = errors.New("not everything that was made could be removed")

// clouds is what the build makes elsewhere, until it is meant to stay.
type clouds struct {
	run      string
	undo     undo.Stack
	journals map[string]*journal.Journal // by the type of the platform
	records  map[string][]byte           // files for the output folder, by name
}

// JournalDir is where a run notes what it makes in clouds.
func JournalDir(cacheDir string) string { return filepath.Join(cacheDir, "journal") }

// newRun names this run of the program, for tags: no output depends on it.
func newRun(hint string) (string, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fault.Wrap(fault.Environment, err)
	}
	hint = strings.Trim(regexp.MustCompile(`[^A-Za-z0-9._-]+`).ReplaceAllString(hint, "-"), "-._")
	return cmp.Or(hint[:min(len(hint), 60)], "local") + "-" + hex.EncodeToString(random[:]), nil
}

// publisher returns the cell's platform if its images are in a cloud.
func publisher(cell *plan.Cell) (platforms.Publisher, bool, error) {
	platform, err := platforms.New(cell.Type, cell.Platform, cell.Config)
	if err != nil {
		return nil, false, err
	}
	p, ok := platform.(platforms.Publisher)
	return p, ok, nil
}

// publication describes a cell to its publisher. The disks are known from the
// pack stage on.
func (b *builder) publication(cell *plan.Cell) target.Publication {
	t := b.treeOf(cell)
	job := target.Job{
		Name: b.plan.Name, Version: b.plan.Version, Arch: cell.Arch, OSName: t.os.Name, Release: t.os.Release, Epoch: t.epoch, Identity: cell.Identity(),
	}
	if t.provider != nil {
		job.Disks = t.provider
	}
	return target.Publication{
		Job: job, Platform: cell.Platform, PlanDigest: b.plan.Digest, CellDigest: cell.Digest, DiskBytes: t.diskBytes(), Firmware: t.plan.Disk.Firmware,
		Access: b.Access, Run: b.clouds.run, Undo: b.clouds.undo.Push,
	}
}

// checkPublish asks the clouds whether publishing can work.
func (b *builder) checkPublish(ctx context.Context) error {
	var errs []error
	if b.Until == StageProvision {
		errs = append(errs, fault.Errorf(fault.Input, "publishing needs a disk, and the build is to stop before it; leave --until provision out"))
	}
	for _, cell := range b.plan.Cells {
		p, ok, err := publisher(cell)
		if err == nil && ok {
			err = p.CheckPublish(ctx, b.publication(cell))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// boots is a disk that no file of the build's is made of: the canonical one,
// on its way into a cloud.
type boots struct{ name, path string }

// packCloud does what packing is for a cloud: the disk, and a look whether the
// image could start there.
func (b *builder) packCloud(ctx context.Context, cell *plan.Cell, p platforms.Publisher, task report.Task) (*boots, error) {
	t := b.treeOf(cell)
	if t.unread != nil {
		return nil, cannotLook(cell, t.unread)
	}
	found, err := bootfiles.CheckDrivers(ctx, t.sealed)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	lacks := map[string]string{}
	for _, lack := range found {
		lacks[lack.Module] = lack.String()
	}
	if err := p.CheckGuest(ctx, t.sealed, lacks, task); err != nil {
		return nil, err
	}
	if _, err := t.provider.Disk(ctx, target.Canonical); err != nil {
		return nil, err
	}
	if !b.Publish {
		task.Note("nothing is published: that takes --publish")
	}
	return &boots{name: p.ImageName(b.publication(cell)), path: t.provider.path(target.Canonical, "raw")}, nil
}

// publish makes the images in clouds, one cell after the other: each has the
// whole connection.
func (b *builder) publish(ctx context.Context, task report.Task) error {
	for _, cell := range b.plan.Cells {
		p, ok, err := publisher(cell)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		err = report.Do(task, cell.Platform, func(task report.Task) error {
			t := b.publication(cell)
			if t.Journal, err = b.journal(cell.Type); err != nil {
				return err
			}
			out, err := p.Publish(ctx, t, task)
			if err != nil {
				return err
			}
			b.published(out)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// journal is where this run notes what it makes in the clouds of a type of
// platform: all of its cells in one.
func (b *builder) journal(kind string) (*journal.Journal, error) {
	if known := b.clouds.journals[kind]; known != nil {
		return known, nil
	}
	made, err := journal.Create(JournalDir(b.CacheDir), kind, b.clouds.run)
	if err != nil {
		return nil, err
	}
	if b.clouds.journals == nil {
		b.clouds.journals = map[string]*journal.Journal{}
	}
	b.clouds.journals[kind] = made
	return made, nil
}

// published takes what is in a cloud into the build's results.
func (b *builder) published(out target.Published) {
	b.result.Artifacts = append(b.result.Artifacts, out.Artifacts...)
	if out.Found {
		for _, each := range out.Artifacts {
			b.result.Found = append(b.result.Found, each.Name)
		}
	}
	if b.clouds.records == nil {
		b.clouds.records = map[string][]byte{}
	}
	if out.RecordName != "" {
		b.clouds.records[out.RecordName] = out.Record
	}
}

// leaveClouds takes back what a failed build made, or one that was only to show
// that it works, and ends the journals of what stays or is gone. A journal that
// stays is for "imagebuild gc".
func (b *builder) leaveClouds(ctx context.Context, cause error) error {
	var err error
	if cause == nil && b.Publish {
		b.clouds.undo.Keep()
	} else if err = b.clouds.undo.Close(ctx); err != nil {
		err = fault.Errorf(fault.Remote, "%w: %w; run: imagebuild gc", ErrLeft, err)
		b.Report.Begin("left").Warn("%v", err)
	}
	for _, each := range b.clouds.journals {
		if err == nil {
			err = each.Keep()
		}
		err = errors.Join(err, each.Close())
	}
	return err
}

// verifyCloud boots what will be published.
func (b *builder) verifyCloud(ctx context.Context, p packedCell, tests []verify.Test, task report.Task) (verify.Result, error) {
	access, err := b.access(b.treeOf(p.cell))
	if err != nil {
		return verify.Result{}, err
	}
	result, err := verify.Boot(ctx, verify.Request{
		Artifact: p.boots.path, Hardware: p.hardware, Accel: b.Accel, Access: access, Tests: tests, Dir: b.work.Path, FailureDir: b.failureDir(p.boots.name), Secrets: b.Secrets,
	}, task)
	result.Artifact = p.boots.name
	return result, err
}

// Collect finds what dead runs left in the clouds of a kind of platform, and
// removes it.
func Collect(ctx context.Context, kind string, s target.Sweep, cacheDir string, task report.Task) (left []target.Leftover, err error) {
	if s.Dead, err = journal.Dead(JournalDir(cacheDir), kind); err != nil {
		task.Warn("%v", err)
	}
	defer func() {
		for _, each := range s.Dead {
			err = errors.Join(err, each.Close())
		}
	}()
	return platforms.Collect(ctx, kind, s, task)
}

// Policies are the rights that the template's cloud platforms take, by the
// platform's name.
func Policies(ctx context.Context, o Options) (map[string][]byte, error) {
	p, err := Plan(ctx, o)
	if err != nil {
		return nil, err
	}
	policies := map[string][]byte{}
	for _, cell := range p.Cells {
		cloud, ok, err := publisher(cell)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if launcher, ok := cloud.(platforms.Launcher); ok && cell.Tree.Engine == template.Instance {
			policies[cell.Platform], err = launcher.LaunchPolicy(cell.Tree.Source.Config)
		} else {
			policies[cell.Platform], err = cloud.Policy()
		}
		if err != nil {
			return nil, err
		}
	}
	if len(policies) == 0 {
		return nil, fault.Errorf(fault.Input, "no platform of the template publishes anything, so no rights are needed; add aws under platforms")
	}
	return policies, nil
}

// CloudRegions are the places that the template's platforms of a kind publish
// to.
func CloudRegions(ctx context.Context, o Options, kind string) ([]string, error) {
	p, err := Plan(ctx, o)
	if err != nil {
		return nil, err
	}
	var regions []string
	for _, cell := range p.Cells {
		cloud, ok, err := publisher(cell)
		if err != nil {
			return nil, err
		}
		if ok && cell.Type == kind {
			regions = append(regions, cloud.Regions()...)
		}
	}
	return regions, nil
}
