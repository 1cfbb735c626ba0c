package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
)

// cloudKinds are the types of platform that may leave something in a cloud.
var cloudKinds = []string{"aws"} //nolint:gochecknoglobals // a constant list

// access is how a person's shell comes to be allowed anything in a cloud: by
// what the cloud's own tools find.
func access() target.Access { return target.Access{Agent: "imagebuild"} }

func (a *app) gcCommand() *cobra.Command {
	var in inputs
	var kind, cacheDir string
	var regions []string
	var olderThan time.Duration
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use:   "gc [TEMPLATE]",
		Short: "Remove what killed builds left in a cloud",
		Long: `A build takes back what it made when it fails or is cancelled. One that was
killed cannot, but it has noted on this machine, in the cache folder, what it
made before it was made. gc reads those notes and removes what is left.

It also looks in the regions of the template (and in those named) for snapshots,
images, instances, security groups and key pairs that carry our tags and that no build has finished, as those of a
workflow's job that was killed with its machine are. They are removed when they
are older than --older-than: a build that is still at work elsewhere is not seen
from here.

What a build finished is never touched, and neither is anything without our tag.`,
		Example: `  imagebuild gc --dry-run
  imagebuild gc --platform aws images/imagebuild.yml
  imagebuild gc --platform aws --region eu-west-1 --region us-east-1 --older-than 6h`,
		Args:              oneTemplate,
		ValidArgsFunction: completeTemplate,
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(cloudKinds, kind) {
				return fault.Errorf(fault.Input, "--platform %q: want one of %v", kind, cloudKinds)
			}
			if olderThan < 0 {
				return fault.Errorf(fault.Input, "--older-than %s: want a time that is not below zero", olderThan)
			}
			dir, err := a.cacheDir(cacheDir)
			if err != nil {
				return err
			}
			named, err := a.cloudRegions(c.Context(), args, in, kind)
			if err != nil {
				return err
			}
			regions = append(regions, named...)
			slices.Sort(regions)
			var left []target.Leftover
			err = report.Do(a.reporter(), "gc", func(task report.Task) (err error) {
				left, err = build.Collect(c.Context(), kind, target.Sweep{
					Access: access(), Regions: slices.Compact(regions), OlderThan: int64(olderThan / time.Second), OnlyReport: dryRun,
				}, dir, task)
				return err
			})
			a.stopReport()
			if asJSON {
				return errors.Join(err, printJSON(a, left))
			}
			return errors.Join(err, a.printLeftovers(left))
		},
	}
	f := c.Flags()
	f.StringVarP(&kind, "platform", "p", "aws", "type of platform to clean up after")
	f.StringSliceVar(&regions, "region", nil, "region to look into besides the template's (repeatable)")
	f.DurationVar(&olderThan, "older-than", 24*time.Hour, "age from which a build of another machine is over")
	f.StringVar(&cacheDir, "cache-dir", "", "folder that the builds had for downloads and checkpoints (default: $IMAGEBUILD_CACHE, else ~/.cache/imagebuild)")
	f.BoolVar(&dryRun, "dry-run", false, "remove nothing")
	f.BoolVar(&asJSON, "json", false, "print the list as JSON")
	f.StringArrayVar(&in.vars, "var", nil, "set a variable, as name=value (repeatable)")
	f.StringArrayVar(&in.varFiles, "var-file", nil, "read variables from a YAML file of name: value (repeatable)")
	_ = c.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions(cloudKinds, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("region", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("older-than", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("var", cobra.NoFileCompletions)
	_ = c.MarkFlagDirname("cache-dir")
	return c
}

// cloudRegions are the template's, where there is one.
func (a *app) cloudRegions(ctx context.Context, args []string, in inputs, kind string) ([]string, error) {
	if _, err := os.Stat(build.DefaultTemplate); len(args) == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	options, err := a.options(args, in)
	if err != nil {
		return nil, err
	}
	return build.CloudRegions(ctx, options, kind)
}

func (a *app) printLeftovers(left []target.Leftover) error {
	w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
	for _, each := range left {
		what := "left"
		if each.Gone {
			what = "removed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\trun %s\n", what, each.Region, each.Kind, each.ID, each.Run)
	}
	if len(left) == 0 {
		fmt.Fprintln(a.Stderr, "nothing is left")
	}
	return w.Flush()
}

func (a *app) policyCommand() *cobra.Command {
	var in inputs
	c := &cobra.Command{
		Use:   "policy [TEMPLATE]",
		Short: "Print the least rights that publishing a template takes",
		Long: `Prints the IAM policy that "imagebuild build --publish" (or any build, where the
source is an AMI) needs for the template's platform of type aws: the actions that its settings lead to, in its regions, and
changes only to what carries our tag. Attach it to the role that a workflow
assumes, or to a person's user.

Where the template has several platforms of that type, name one with --platform.`,
		Example:           "  imagebuild policy\n  imagebuild policy images/imagebuild.yml --platform aws > policy.json",
		Args:              oneTemplate,
		ValidArgsFunction: completeTemplate,
		RunE: func(c *cobra.Command, args []string) error {
			options, err := a.options(args, in)
			if err != nil {
				return err
			}
			policies, err := build.Policies(c.Context(), options)
			if err != nil {
				return err
			}
			if len(policies) > 1 {
				return fault.Errorf(fault.Input, "the template publishes to %d platforms; name one with --platform", len(policies))
			}
			for _, text := range policies {
				_, err = a.Stdout.Write(text)
			}
			return err
		},
	}
	in.register(c)
	return c
}
