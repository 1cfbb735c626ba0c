package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/release"
	"github.com/org/imagebuild-action/internal/report"
)

// releaseFlags are what the release command can be told.
type releaseFlags struct {
	tag, repository, completeWhen string
	releaseID                     int64
	keepDraft, unproved, asJSON   bool
}

func (a *app) releaseCommand() *cobra.Command {
	var f releaseFlags
	c := &cobra.Command{
		Use:   "release [OUTPUT...]",
		Short: "Publish what was built on a GitHub release",
		Long: `Uploads the output folders of imagebuild build to the GitHub release of a tag,
and closes the release if that makes it complete: SHA256SUMS, the Vagrant
catalog, the table of AMIs, the list in the body; then the draft is published
and the catalog goes to the Pages branch that the template names. Without a
folder it only closes.

Any number of jobs may do this at once for the parts of one matrix, in any
order; whichever comes last closes. It may be repeated: equal assets stay,
broken uploads are mended, and what is complete is left alone. A release is
complete when every cell of its templates is there, and every job of the matrix
that they were built in. Until then it is a draft. A draft or release of your
own for the tag is used, and your text in it is kept.

It needs a token that may write to the repository's contents, in GITHUB_TOKEN or
GH_TOKEN. In a GitHub job the repository, the tag and the servers are known;
elsewhere name them, GitHub Enterprise by GITHUB_API_URL and GITHUB_SERVER_URL.`,
		Example: `  imagebuild release out --tag v1.2.3 --repository octo/images
  imagebuild release out-libvirt out-vmware --tag v1.2.3 --complete-when matrix
  imagebuild release --tag v1.2.3      # close it, if everything is there`,
		Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error { return a.release(c.Context(), args, f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.tag, "tag", "", "tag of the release (default: the tag that the job runs for)")
	flags.StringVar(&f.repository, "repository", "", "owner/name of the repository (default: $GITHUB_REPOSITORY)")
	flags.Int64Var(&f.releaseID, "release-id", 0, "number of an existing release, instead of the tag's")
	flags.StringVar(&f.completeWhen, "complete-when", string(release.WholeTemplate), "what to wait for: template (every cell of it), or matrix (only what was meant to be built)")
	flags.BoolVar(&f.keepDraft, "keep-draft", false, "upload and write everything, but do not publish")
	flags.BoolVar(&f.unproved, "unproved", false, "publish artifacts that were not booted, too")
	flags.BoolVar(&f.asJSON, "json", false, "print the outcome as JSON")
	_ = c.RegisterFlagCompletionFunc("complete-when", cobra.FixedCompletions([]string{string(release.WholeTemplate), string(release.WholeMatrix)}, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"tag", "repository", "release-id"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return c
}

func (a *app) release(ctx context.Context, outputs []string, f releaseFlags) error {
	request, options, err := a.releaseRequest(outputs, f)
	if err != nil {
		return err
	}
	var outcome release.Outcome
	err = report.Do(a.reporter(), "release", func(task report.Task) error {
		for _, dir := range outputs {
			build, err := release.Load(ctx, dir)
			if err != nil {
				return err
			}
			request.Builds = append(request.Builds, build)
		}
		options.Log = slog.New(taskLog{task})
		if request.Client, err = github.New(options); err != nil {
			return err
		}
		outcome, err = release.Publish(ctx, request, task)
		return err
	})
	a.stopReport()
	if err != nil && ctx.Err() != nil {
		return fault.Errorf(fault.Cancelled, "cancelled; what was uploaded is on a draft, and the next run goes on with it")
	}
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(a, outcome)
	}
	a.printOutcome(outcome)
	return nil
}

// releaseRequest turns arguments and environment into what is to be published,
// and where to.
func (a *app) releaseRequest(outputs []string, f releaseFlags) (release.Request, github.Options, error) {
	rule, err := release.ParseCompletion(f.completeWhen)
	if err != nil {
		return release.Request{}, github.Options{}, fmt.Errorf("--complete-when: %w", err)
	}
	for _, dir := range outputs {
		if info, err := os.Stat(dir); err != nil {
			return release.Request{}, github.Options{}, fault.Wrap(fault.Input, err)
		} else if !info.IsDir() {
			return release.Request{}, github.Options{}, fault.Errorf(fault.Input, "%s is not a folder; name the output folder of imagebuild build", dir)
		}
	}
	request := release.Request{
		Tag: f.tag, ReleaseID: f.releaseID, Commit: a.env("GITHUB_SHA"), CompleteWhen: rule, KeepDraft: f.keepDraft, Unproved: f.unproved,
	}
	if request.Tag == "" && request.ReleaseID == 0 && a.env("GITHUB_REF_TYPE") == "tag" {
		request.Tag = a.env("GITHUB_REF_NAME")
	}
	if request.Tag == "" && request.ReleaseID == 0 {
		return request, github.Options{}, fault.Errorf(fault.Input, "which release? name its tag: --tag v1.2.3")
	}
	options, err := a.github(f.repository, strings.Join(outputs, "\n"))
	if err == nil && options.Token == "" {
		err = fault.Errorf(fault.Input, "there is no token; set GITHUB_TOKEN to one that may write to the contents of %s", options.Repository)
	}
	return request, options, err
}

// github says which repository is meant, and who we are: as gh and a job's
// environment do. The token may be missing; seed tells parallel jobs apart.
func (a *app) github(repository, seed string) (github.Options, error) {
	options := github.Options{
		Token: cmp.Or(a.env("GITHUB_TOKEN"), a.env("GH_TOKEN")), Repository: cmp.Or(repository, a.env("GITHUB_REPOSITORY")),
		APIURL: a.env("GITHUB_API_URL"), ServerURL: a.env("GITHUB_SERVER_URL"), UserAgent: "imagebuild/" + version(),
		JitterSeed: a.env("GITHUB_JOB") + seed,
	}
	if options.Repository == "" {
		return options, fault.Errorf(fault.Input, "which repository? name it: --repository owner/name")
	}
	return options, fault.Wrap(fault.Input, a.secrets.Add(options.Token))
}

func (a *app) env(name string) string {
	value, _ := a.LookupEnv(name)
	return value
}

func (a *app) printOutcome(o release.Outcome) {
	fmt.Fprintln(a.Stdout, o.URL)
	fmt.Fprintf(a.Stderr, "%s: %s uploaded, %d there already\n", o.Tag, count(len(o.Uploaded), "asset"), len(o.Unchanged))
	switch {
	case len(o.Missing) > 0:
		fmt.Fprintf(a.Stderr, "The release is still a draft, or not complete. It waits for:\n  %s\n", strings.Join(o.Missing, "\n  "))
	case o.Draft:
		fmt.Fprintln(a.Stderr, "Everything is there. The release is a draft: publish it when you are ready.")
	default:
		fmt.Fprintln(a.Stderr, "The release is published and complete.")
	}
}

// taskLog shows what the client has to say as notes of a task.
type taskLog struct{ report.Task }

// Enabled implements slog.Handler.
func (taskLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (t taskLog) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(attr slog.Attr) bool {
		text += fmt.Sprintf(", %s %s", attr.Key, attr.Value)
		return true
	})
	t.Note("%s", text)
	return nil
}

// WithAttrs implements slog.Handler; the client has none.
func (t taskLog) WithAttrs([]slog.Attr) slog.Handler { return t }

// WithGroup implements slog.Handler; the client has none.
func (t taskLog) WithGroup(string) slog.Handler { return t }
