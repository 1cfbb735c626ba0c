package action

import (
	"cmp"
	"context"
	"errors"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
)

// cloudKinds are the types of platform that may leave something in a cloud.
var cloudKinds = []string{"aws"} //nolint:gochecknoglobals // a constant list

// access is how the job comes to be allowed anything in a cloud: by the role
// of an input, with the job's own identity, else by what the cloud's own tools
// find in the environment.
func (j *job) access(in inputs) target.Access {
	return target.Access{AWSRole: in.awsRole, IDToken: j.idToken, Agent: "imagebuild"}
}

// idToken fetches a token anew for every use: GitHub's are good for minutes.
func (j *job) idToken(ctx context.Context, audience string) (string, error) {
	token, err := j.actions.GetIDToken(ctx, audience)
	var missing *githubactions.EnvMissingError
	if errors.As(err, &missing) {
		return "", fault.Errorf(fault.Input, "input aws-role: the job has no identity to show: %w; add permissions: {id-token: write} to it (pull requests from forks never get one)", err)
	}
	if err != nil {
		return "", fault.Errorf(fault.Remote, "the job's identity token: %w", err)
	}
	j.console.mask(token)
	return token, nil
}

// runHint begins the run's name in a cloud's tags, so that a person finds the
// job that made a thing.
func (j *job) runHint() string {
	return "github-" + cmp.Or(j.getenv("GITHUB_RUN_ID"), "0") + "-" + cmp.Or(j.getenv("GITHUB_RUN_ATTEMPT"), "1") + "-" + j.getenv("GITHUB_JOB")
}

// sweepClouds removes what a killed main made, by its journal.
func (j *job) sweepClouds(ctx context.Context, in inputs, cacheDir string) error {
	var errs []error
	for _, kind := range cloudKinds {
		errs = append(errs, report.Do(reporter{j.console}, "sweep "+kind, func(task report.Task) error {
			_, err := build.Collect(ctx, kind, target.Sweep{Access: j.access(in)}, cacheDir, task)
			return err
		}))
	}
	return errors.Join(errs...)
}
