package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/run"
)

// seal takes our traces out of the instance and stops it: the script is the
// last that runs in it, over a connection that stays.
func (i *instance) seal(ctx context.Context) error {
	var said run.Tail
	err := i.Run(ctx, guest.Command{Argv: []string{"sh", "-s", "--", i.l.keyBlob}, Stdin: strings.NewReader(i.l.job.Seal), Stdout: &said, Stderr: &said})
	var exit *guest.ExitError
	if errors.As(err, &exit) {
		return fault.Errorf(fault.Guest, "take our traces out of the instance: %w: %s", err, said.String())
	}
	if err != nil {
		return fmt.Errorf("take our traces out of the instance: %w", err)
	}
	i.leave()
	return i.stop(ctx)
}

// stop ends the instance's system as its power button would, and waits until
// its volume is at rest.
func (i *instance) stop(ctx context.Context) error {
	region := i.l.config.Region
	_, err := shown(ctx, i.l.work, region, "ec2:StopInstances", ended, func(ctx context.Context) (*ec2.StopInstancesOutput, error) {
		return i.l.cloud.EC2(region).StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{i.id}})
	})
	if err != nil {
		return err
	}
	return i.l.cloud.Poll(ctx, i.l.cloud.Limits.Boot, "the end of instance "+i.id, func(ctx context.Context) (bool, error) {
		now, err := i.look(ctx)
		if amazon.Is(err, ended...) || err == nil && now.State == nil {
			return false, nil // a replica that has not heard of it yet
		}
		if err != nil {
			return false, err
		}
		switch now.State.Name {
		case types.InstanceStateNameStopped:
			return true, nil
		case types.InstanceStateNameShuttingDown, types.InstanceStateNameTerminated:
			return false, i.died(over(now))
		}
		return false, nil
	})
}

// capture makes an image of a stopped instance. As with RegisterImage there is
// no token, so a second attempt after a lost answer finds the name taken: by us.
func (l *launch) capture(ctx context.Context, id string) (*ami, error) {
	region := l.config.Region
	for _, kind := range []string{kindImage, kindSnapshot} {
		if err := l.begin(kind, region); err != nil {
			return nil, err
		}
	}
	out, err := shown(ctx, l.work, region, "ec2:CreateImage", ended, func(ctx context.Context) (*ec2.CreateImageOutput, error) {
		return l.cloud.EC2(region).CreateImage(ctx, &ec2.CreateImageInput{
			InstanceId: aws.String(id), Name: aws.String(l.imageName(l.t)), Description: aws.String(l.description()), NoReboot: aws.Bool(true),
			TagSpecifications: []types.TagSpecification{
				{ResourceType: types.ResourceTypeImage, Tags: l.ec2Tags()}, {ResourceType: types.ResourceTypeSnapshot, Tags: l.ec2Tags()},
			},
		})
	})
	if amazon.Is(err, "InvalidAMIName.Duplicate") {
		return l.ours(ctx, region, err)
	}
	if err != nil {
		return nil, err
	}
	made := &ami{region: region, id: aws.ToString(out.ImageId)}
	return made, l.note(journal.Entry{Kind: kindImage, Place: region, ID: made.id})
}

// consoleLimit is how long what the console said is worth waiting for.
const consoleLimit = 30 * time.Second

// console is what an instance's console said.
func (l *launch) console(ctx context.Context, id string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, consoleLimit)
	defer cancel()
	region := l.config.Region
	out, err := amazon.Do(ctx, l.cloud, region, "ec2:GetConsoleOutput", func(ctx context.Context) (*ec2.GetConsoleOutputOutput, error) {
		return l.cloud.EC2(region).GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: aws.String(id), Latest: aws.Bool(true)})
	})
	if amazon.Is(err, "UnsupportedOperation") { // an instance that is not on Nitro has only an older one
		out, err = amazon.Do(ctx, l.cloud, region, "ec2:GetConsoleOutput", func(ctx context.Context) (*ec2.GetConsoleOutputOutput, error) {
			return l.cloud.EC2(region).GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: aws.String(id)})
		})
	}
	if err != nil {
		return nil, err
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
	return bytes.TrimSpace(text), err
}
