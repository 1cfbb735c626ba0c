package aws

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
)

// distribute makes every image what the template says: whoever may launch it
// may, it is dated, it has its parameter. Only when all regions are that far is
// anything called done, and what cannot be taken back comes last.
func (w *work) distribute(ctx context.Context, images []*ami) error {
	for _, step := range []struct {
		name string
		skip bool
		do   func(context.Context, *ami) error
	}{
		{"share", len(w.config.ShareWith) == 0, w.share},
		{"deprecate", w.config.DeprecateAfter == 0, w.deprecate},
		{"parameter", w.config.SSMParameter == "", w.parameter},
		{"tag", false, w.finish},
		{"protect", w.config.Deregister == Unprotected, w.protect},
	} {
		if step.skip {
			continue
		}
		err := report.Do(w.task, step.name, func(report.Task) error {
			group, ctx := errgroup.WithContext(ctx)
			group.SetLimit(maxRegions)
			for _, each := range images {
				group.Go(func() error { return step.do(ctx, each) })
			}
			return group.Wait()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// permissions are who may launch it.
func (w *work) permissions() []types.LaunchPermission {
	var list []types.LaunchPermission
	for _, who := range w.config.ShareWith {
		var p types.LaunchPermission
		switch {
		case who == public:
			p.Group = types.PermissionGroupAll
		case strings.Contains(who, ":ou/"):
			p.OrganizationalUnitArn = aws.String(who)
		case strings.HasPrefix(who, "arn:"):
			p.OrganizationArn = aws.String(who)
		default:
			p.UserId = aws.String(who)
		}
		list = append(list, p)
	}
	return list
}

func (w *work) share(ctx context.Context, a *ami) error {
	_, err := amazon.Do(ctx, w.cloud, a.region, "ec2:ModifyImageAttribute", func(ctx context.Context) (*ec2.ModifyImageAttributeOutput, error) {
		return w.cloud.EC2(a.region).ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
			ImageId: aws.String(a.id), LaunchPermission: &types.LaunchPermissionModifications{Add: w.permissions()},
		})
	})
	return err
}

// deprecation is the date for an image that is made now.
func (w *work) deprecation() time.Time { return time.Now().Add(time.Duration(w.config.DeprecateAfter)) }

func (w *work) deprecate(ctx context.Context, a *ami) error {
	at := w.deprecation()
	if !a.created.IsZero() {
		at = a.created.Add(time.Duration(w.config.DeprecateAfter))
	}
	if at.Before(time.Now()) {
		w.task.Warn("%s: %s is older than deprecate_after (%s) already; its date stays as it is", a.region, a.id, w.config.DeprecateAfter)
		return nil
	}
	_, err := amazon.Do(ctx, w.cloud, a.region, "ec2:EnableImageDeprecation", func(ctx context.Context) (*ec2.EnableImageDeprecationOutput, error) {
		return w.cloud.EC2(a.region).EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: aws.String(a.id), DeprecateAt: aws.Time(at)})
	})
	return err
}

// parameter gives the SSM parameter the image's id.
func (w *work) parameter(ctx context.Context, a *ami) error {
	before, err := parameterValue(ctx, w.cloud, a.region, w.config.SSMParameter)
	if err != nil || before == a.id {
		return err
	}
	entry := journal.Entry{Kind: kindParameter, Place: a.region, ID: w.config.SSMParameter, Before: before}
	// Noted before it is done: to put the old value back does no harm.
	if err := w.note(entry); err != nil {
		return err
	}
	in := &ssm.PutParameterInput{
		Name: aws.String(w.config.SSMParameter), Value: aws.String(a.id), Type: ssmtypes.ParameterTypeString, DataType: aws.String("aws:ec2:image"), Overwrite: aws.Bool(true),
		Description: aws.String(w.description()),
	}
	_, err = amazon.Do(ctx, w.cloud, a.region, "ssm:PutParameter", func(ctx context.Context) (*ssm.PutParameterOutput, error) {
		// Once sent it is waited for: cancelled, it could still arrive after the
		// old value was put back.
		sent, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cloud.Limits.Attempt)
		defer cancel()
		return w.cloud.SSM(a.region).PutParameter(sent, in)
	})
	if err != nil {
		return err
	}
	// SSM answers first and looks whether there is such an image afterwards.
	return w.cloud.Poll(ctx, w.cloud.Limits.Appear, "the parameter "+w.config.SSMParameter+" in "+a.region, func(ctx context.Context) (bool, error) {
		value, err := parameterValue(ctx, w.cloud, a.region, w.config.SSMParameter)
		return value == a.id, err
	})
}

func parameterValue(ctx context.Context, cloud *amazon.Cloud, region, name string) (string, error) {
	out, err := amazon.Do(ctx, cloud, region, "ssm:GetParameter", func(ctx context.Context) (*ssm.GetParameterOutput, error) {
		return cloud.SSM(region).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name)})
	})
	if amazon.Is(err, "ParameterNotFound") {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Parameter.Value), nil
}

// finish calls image and snapshot done: nobody sweeps them away any more. What
// was found gets the template's own tags, and keeps those that say what it is;
// what was made gets all of them once more, which costs nothing.
func (w *work) finish(ctx context.Context, a *ami) error {
	tags := map[string]string{}
	maps.Copy(tags, w.config.Tags)
	if w.isMade(a.id) {
		tags = w.tags()
	}
	tags[tagState] = stateDone
	w.call(a)
	_, err := shown(ctx, w, a.region, "ec2:CreateTags", []string{"InvalidSnapshot.NotFound", "InvalidAMIID.NotFound"}, func(ctx context.Context) (*ec2.CreateTagsOutput, error) {
		return w.cloud.EC2(a.region).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{a.id, a.snapshot}, Tags: ec2Tags(tags)})
	})
	return err
}

// call notes what this run calls done: of its own, for what was there stays.
func (w *work) call(a *ami) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.made {
		if e.Place == a.region && e.ID == a.id {
			if w.named == nil {
				w.named = map[string]string{}
			}
			w.named[a.id], w.named[a.snapshot] = a.region, a.region
		}
	}
}

func (w *work) protect(ctx context.Context, a *ami) error {
	cooldown := w.config.Deregister == Cooldown
	if strings.HasPrefix(a.protection, "enabled") && strings.Contains(a.protection, "without") != cooldown {
		return nil
	}
	_, err := amazon.Do(ctx, w.cloud, a.region, "ec2:EnableImageDeregistrationProtection", func(ctx context.Context) (*ec2.EnableImageDeregistrationProtectionOutput, error) {
		return w.cloud.EC2(a.region).EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: aws.String(a.id), WithCooldown: aws.Bool(cooldown)})
	})
	return err
}
