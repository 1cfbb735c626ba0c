package cli

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/userns"
)

func (a *app) buildCommand() *cobra.Command {
	var in inputs
	var output, cacheDir, until, onError, fromStep string
	var cacheLimit string
	var noCache, live, asJSON, publish bool
	var from workflowFlags
	c := &cobra.Command{
		Use:   "build [TEMPLATE]",
		Short: "Build, boot and check the images of a template",
		Long: `Builds the image once and packs it for every platform of the template, boots
each packed file under devices like its target's, runs the template's tests in
it, and only then gives the files their names in the output folder. When you
press Ctrl-C, nothing is left behind. When anything fails, only the folder
failure is, in the output folder: what the failed step printed, the machine's
last screen and serial console, the command that starts it again, timings and
the plan. --on-error shell lets you look around in the failing guest first.

What was built before is not built again: the source and every step are kept in
the cache, so a changed step costs that step and the ones after it. --from runs
a step and the ones after it again although nothing has changed.

The output folder gets the images, SHA256SUMS, plan.json, result.json and the
content manifest. Needs root, or user namespaces with the uidmap package.

A platform that is a cloud (aws) is built and booted like the others, and with
--publish its images are made in the end: every right is asked for before
anything is built, what is there already is found, and when anything fails all
that was made is removed again. ami-PLATFORM-ARCH.json lists them.

Where the source is an AMI, the steps run in an instance of it, with or without
--publish: without, the image is made, started and tested all the same, and then
all of it is removed. It has no checkpoints, so --from is refused.

With --workflow it builds here what a GitHub workflow builds there: every cell
of the matrix of each job that uses the action, with the template, platform,
architecture, variables, version and environment of the step. include, exclude and fromJSON
of a literal are understood, and so is a matrix that another job makes with
imagebuild plan --matrix; --changed-since is left out of that, so all of it is
built. What only GitHub knows (github, inputs, vars, secrets) is refused with
its place where it decides something; --version, --platform, --arch and --var
win over the workflow's. Cells that differ in platform alone share their work
and a folder. Where there are several, each has its own below --output. A cell
that fails does not stop the others, whatever the workflow's fail-fast says;
the command fails in the end.`,
		Example: `  imagebuild build
  imagebuild build examples/golden --platform libvirt
  imagebuild build --var release=trixie --version 1.4.0 --output dist
  imagebuild build --until pack          # do not boot
  imagebuild build --from 'Install tools' --on-error shell
  imagebuild build --platform aws --publish
  imagebuild build --workflow .github/workflows/images.yml
  imagebuild build --workflow .github/workflows/images.yml --job image -p libvirt`,
		Args:              oneTemplate,
		ValidArgsFunction: completeTemplate,
		RunE: func(c *cobra.Command, args []string) error {
			if err := from.check(c, args); err != nil {
				return err
			}
			options, err := a.given(in)
			if err == nil && from.path == "" {
				options.Template, err = templateArgument(args)
			}
			if err != nil {
				return err
			}
			if options.CacheDir, err = a.cacheDir(cacheDir); err != nil {
				return err
			}
			if options.Output, err = filepath.Abs(output); err != nil {
				return fault.Wrap(fault.Environment, err)
			}
			if options.Until, err = parseStage(until); err != nil {
				return err
			}
			if err := options.CacheLimit.UnmarshalText([]byte(cacheLimit)); err != nil {
				return fault.Errorf(fault.Input, "--cache-limit: %w", err)
			}
			if err := a.onError(onError, &options); err != nil {
				return err
			}
			if noCache && fromStep != "" {
				return fault.Errorf(fault.Input, "--no-cache builds all steps, and --from some of them; leave one of them out")
			}
			options.NoCache, options.From, options.LiveCheckpoints = noCache, fromStep, live
			options.Publish, options.Access = publish, access()
			if from.path != "" {
				return a.buildWorkflow(c.Context(), options, from, output, asJSON)
			}
			if err := userns.Enter(c.Context(), a.Argv, a.Environ); err != nil {
				return err
			}
			options.Report = a.reporter()
			result, err := build.Run(c.Context(), options)
			a.stopReport()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a, result)
			}
			return a.printResult(result, output)
		},
	}
	in.register(c)
	from.register(c)
	f := c.Flags()
	f.StringVarP(&output, "output", "o", "out", "folder for the results")
	f.StringVar(&cacheDir, "cache-dir", "", "folder for downloads and checkpoints (default: $IMAGEBUILD_CACHE, else ~/.cache/imagebuild)")
	f.StringVar(&cacheLimit, "cache-limit", build.DefaultCacheLimit.String(), "drop the least recently used checkpoints above this")
	f.BoolVar(&noCache, "no-cache", false, "build from scratch; downloaded packages are still used")
	f.BoolVar(&live, "live-checkpoints", false, "with engine vm, keep the running machine after each step too, to go on without a boot; takes some 300 MB each")
	f.StringVar(&until, "until", string(build.StageVerify), "stop after this stage: provision, pack or verify")
	f.StringVar(&fromStep, "from", "", "run again from this step, by name or number, even if it is in the cache")
	f.StringVar(&onError, "on-error", "clean", "what to do when the build fails: clean, keep (the work folders stay) or shell (in the failing guest, then clean)")
	f.BoolVar(&publish, "publish", false, "make the images of platforms that are clouds, when everything else is done")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	_ = c.RegisterFlagCompletionFunc("until", cobra.FixedCompletions([]string{"provision", "pack", "verify"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("from", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("on-error", cobra.FixedCompletions([]string{"clean", "keep", "shell"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.MarkFlagDirname("output")
	_ = c.MarkFlagDirname("cache-dir")
	return c
}

func (a *app) printResult(result *build.Result, output string) error {
	w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
	for _, artifact := range result.Artifacts {
		if artifact.Path == "" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", artifact.Reference, artifact.Region, artifact.Name, result.Proof(artifact.Name))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\tsha256:%.12s\t%s\n", filepath.Join(output, artifact.Path),
			size.Bytes(artifact.SizeBytes).Human(), artifact.SHA256, result.Proof(artifact.Name))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "%s %s: %s in %s\n", result.Name, result.Version, count(len(result.Artifacts), "artifact"),
		(time.Duration(result.Seconds * float64(time.Second))).Round(time.Second))
	return nil
}
