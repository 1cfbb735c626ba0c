package aws

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/size"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/target"
)

// launch is one image that is made of an instance.
type launch struct {
	*work
	job     target.Launch
	source  *amisource.Config
	image   types.Image // to start from
	signer  gossh.Signer
	keyBlob string // the encoded public key, as it stands in authorized_keys
	group   string // the security group's id
}

// Launch makes the AMIs of an instance that the steps run in, or finds them.
func (p *Platform) Launch(ctx context.Context, t target.Launch, task report.Task) (target.Published, error) {
	source, err := sourceOf(t.Source)
	if err != nil {
		return target.Published{}, err
	}
	cloud, err := p.open(ctx, t.Access)
	if err != nil {
		return target.Published{}, err
	}
	l := &launch{work: &work{Platform: p, cloud: cloud, t: t.Publication, task: task, from: t.Origin.ID}, job: t, source: source}
	t.Undo("what run "+t.Run+" made in AWS", l.takeBack)
	if l.image, err = l.origin(ctx, t.Origin.ID); err != nil {
		return target.Published{}, err
	}
	l.t.DiskBytes = max(rootBytes(l.image), int64(p.config.VolumeSize))
	home, err := l.home(ctx)
	if err != nil || home == nil || !t.Stays {
		return target.Published{}, err
	}
	found := home.done
	images, err := l.copies(ctx, home)
	if err != nil {
		return target.Published{}, err
	}
	if err := l.distribute(ctx, images); err != nil {
		return target.Published{}, err
	}
	out, err := l.published(images)
	out.Found = found
	return out, err
}

// home is the image in the template's region; nil if none is to be made. One
// that is there and finished was proved when it was made.
func (l *launch) home(ctx context.Context) (*ami, error) {
	found, err := l.findImage(ctx, l.config.Region)
	if err != nil {
		return nil, err
	}
	if found != nil {
		l.task.Note("%s: %s is there already: %s", l.config.Region, l.imageName(l.t), found.id)
		if found, err = l.ready(ctx, found); err != nil || found.done || l.job.Tests == nil {
			return found, err
		}
		l.task.Note("%s: a run before made it and did not finish; going on with it", found.id)
	}
	if err := l.enclose(ctx); err != nil {
		return nil, err
	}
	made := found
	if made == nil {
		if made, err = l.make(ctx); err != nil {
			return nil, err
		}
	}
	if made != nil && l.job.Tests != nil {
		if err := l.prove(ctx, made); err != nil {
			if found != nil {
				err = fmt.Errorf("%w; %s is of a run before this one: imagebuild gc removes it", err, made.id)
			}
			return nil, err
		}
	}
	return made, report.Do(l.task, "remove the instances", func(report.Task) error { return l.release(ctx) })
}

// enclose makes what an instance needs around it.
func (l *launch) enclose(ctx context.Context) error {
	return report.Do(l.task, "key and security group", func(report.Task) error {
		if err := l.importKey(ctx); err != nil {
			return err
		}
		return l.createGroup(ctx)
	})
}

// make runs the steps in an instance and makes an image of it.
func (l *launch) make(ctx context.Context) (made *ami, err error) {
	var i *instance
	err = report.Do(l.task, "start an instance of "+aws.ToString(l.image.ImageId), func(task report.Task) (err error) {
		i, err = l.start(ctx, l.image, forSteps, task)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer i.leave()
	if err := l.job.Steps(ctx, i, l.task); err != nil {
		i.keepConsole(ctx)
		return nil, err
	}
	if !l.job.Image {
		l.task.Note("no image is made of the instance: the build stops before that")
		return nil, nil
	}
	if err := report.Do(l.task, "take our traces out, and stop", func(report.Task) error { return i.seal(ctx) }); err != nil {
		i.keepConsole(ctx)
		return nil, err
	}
	err = report.Do(l.task, "make an image of the instance", func(task report.Task) error {
		if made, err = l.capture(ctx, i.id); err != nil {
			return err
		}
		task.Note("%s in %s", made.id, l.config.Region)
		made, err = l.whole(ctx, made)
		return err
	})
	return made, err
}

// prove starts an instance of the image and runs the tests in it.
func (l *launch) prove(ctx context.Context, made *ami) error {
	return report.Do(l.task, "boot "+made.id, func(task report.Task) error {
		image, err := l.origin(ctx, made.id)
		if err != nil {
			return err
		}
		i, err := l.start(ctx, image, forTests, task)
		if err != nil {
			return err
		}
		defer i.leave()
		if err := l.job.Tests(ctx, i, i.booted(), task); err != nil {
			i.keepConsole(ctx)
			return err
		}
		return nil
	})
}

// release removes the instances and what was around them, which has done its
// work.
func (l *launch) release(ctx context.Context) error {
	l.mu.Lock()
	b := &broom{cloud: l.cloud, run: l.t.Run, made: slices.Clone(l.made), maybe: slices.Clone(l.maybe), own: true, gone: l.forget}
	l.mu.Unlock()
	return b.machines(ctx, l.config.Region)
}

// forget notes that something of this run's is gone.
func (l *launch) forget(e journal.Entry) error {
	l.mu.Lock()
	l.made = slices.DeleteFunc(l.made, func(m journal.Entry) bool { return m.Kind == e.Kind && m.Place == e.Place && m.ID == e.ID })
	l.mu.Unlock()
	return l.t.Journal.Gone(e)
}

// CheckLaunch finds out, without making anything, whether Launch can work.
func (p *Platform) CheckLaunch(ctx context.Context, t target.Launch) error {
	source, err := sourceOf(t.Source)
	if err != nil {
		return err
	}
	if err := p.fitsLaunch(t); err != nil {
		return err
	}
	cloud, err := p.open(ctx, t.Access)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	w := &work{Platform: p, cloud: cloud, t: t.Publication, from: t.Origin.ID}
	if err := w.checkRights(ctx, p.config.launchRights(source)); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if err := w.checkAround(ctx, source, t); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	for _, region := range p.config.regions() {
		if err := w.settings(ctx, region); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// checkAround looks at what the instance will be put into.
func (w *work) checkAround(ctx context.Context, source *amisource.Config, t target.Launch) error {
	image, err := w.origin(ctx, t.Origin.ID)
	if err != nil {
		return err
	}
	if want := int64(w.config.VolumeSize); want != 0 && want < rootBytes(image) {
		return fault.Errorf(fault.Input, "platforms.%s.volume_size: %s is smaller than the root volume of %s, which has %s; leave it out or make it larger", w.name, w.config.VolumeSize, t.Origin.ID, size.Bytes(rootBytes(image)))
	}
	if _, err := w.vpc(ctx, source); err != nil {
		return err
	}
	if _, err := w.allowed(ctx, source); err != nil {
		return err
	}
	return w.tryLaunch(ctx, source, image)
}

// fitsLaunch refuses what the source decides, and so cannot be set.
func (p *Platform) fitsLaunch(t target.Launch) error {
	c, usual := &p.config, NewConfig()
	for _, each := range []struct {
		key string
		set bool
	}{
		{"boot_mode", c.BootMode != usual.BootMode}, {"tpm", c.TPM}, {"root_device", c.RootDevice != usual.RootDevice}, {"imds", c.IMDS != usual.IMDS},
	} {
		if each.set {
			return fault.Errorf(fault.Input, "platforms.%s.%s: with source: ami it is what the AMI has that the image is made of; leave it out", p.name, each.key)
		}
	}
	return p.fitsName(t.Publication)
}
