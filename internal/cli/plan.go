package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
)

// matrixFlags are the flags of plan that belong to --matrix.
type matrixFlags struct {
	matrix       bool
	runners      []string
	changedSince string
	sinceRelease bool
	repository   string
}

func (a *app) planCommand() *cobra.Command {
	var in inputs
	var m matrixFlags
	var cache cacheFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan [TEMPLATE...]",
		Short: "Show what a build would do, resolved, or the matrix of a workflow",
		Long: `Resolves the template, its variables and every file that it names into the plan
of a build. The plan's digest covers everything that decides the image's bytes:
while it stays the same, so does the image. Sensitive values appear by name
only. Nothing is downloaded and nothing is built.

The plan ends with what actions/cache needs to keep the source and every step
between runs: one path and one key, which changes when the source or a step
does, and the beginning that all keys of the image have, for restore-keys.
--cache prints these three alone, as lines for $GITHUB_OUTPUT.

With --matrix it takes any number of templates, folders and patterns like
'images/**/imagebuild.yml' (a folder without an imagebuild.yml stands for all
below it), and prints the matrix of a GitHub job in one line: a cell for each
template, platform and architecture, with the keys template, name, platform,
arch, runner and digest, and what --var set. The action takes such a cell as it
is.

--changed-since-release compares with what the latest published release has of
each image instead; GITHUB_REPOSITORY or --repository names where, and a private
repository needs GITHUB_TOKEN. A new version alone is no change.

--changed-since leaves out the cells that come to the same digest at a git
revision: same template, files, variables, and so the same bytes. A shallow
clone does not have the revision; give actions/checkout fetch-depth: 0.

When nothing is left, the matrix is {"include":[]}, which GitHub refuses to run
a job with: guard the job with an if, as in the example.`,
		Example: `  imagebuild plan
  imagebuild plan --json | jq -r .digest
  imagebuild plan --cache --cache-dir .imagebuild-cache >> "$GITHUB_OUTPUT"
  imagebuild plan --matrix images --changed-since origin/main

  # in a workflow:
  jobs:
    plan:
      runs-on: ubuntu-latest
      outputs: {matrix: "${{ steps.plan.outputs.matrix }}"}
      steps:
        - uses: actions/checkout@v5
        - id: plan
          run: |
            matrix=$(imagebuild plan --matrix images)
            echo "matrix=$matrix" >> "$GITHUB_OUTPUT"
    image:
      needs: plan
      if: ${{ needs.plan.outputs.matrix != '{"include":[]}' }}
      strategy: {matrix: "${{ fromJSON(needs.plan.outputs.matrix) }}"}
      runs-on: ${{ matrix.runner }}
      steps:
        - uses: actions/checkout@v5
        - uses: org/imagebuild-action@v1`,
		Args: func(c *cobra.Command, args []string) error {
			if m.matrix {
				return nil
			}
			return oneTemplate(c, args)
		},
		ValidArgsFunction: completeTemplate,
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(m.check(c, asJSON), cache.check(m.matrix, asJSON)); err != nil {
				return err
			}
			if m.matrix {
				return a.planMatrix(c.Context(), args, in, m)
			}
			_, p, err := a.plan(c.Context(), args, in)
			if err != nil {
				return err
			}
			where, err := cache.of(a, p)
			if err != nil {
				return err
			}
			if cache.only {
				return where.outputs(a.Stdout)
			}
			if !asJSON {
				return errors.Join(p.Table(a.Stdout), where.table(a.Stdout))
			}
			text, err := p.JSON()
			if err != nil {
				return err
			}
			_, err = a.Stdout.Write(text)
			return err
		},
	}
	in.register(c)
	m.register(c)
	cache.register(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return c
}

func (m *matrixFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&m.matrix, "matrix", false, "print the matrix of a workflow's job, for fromJSON")
	f.StringArrayVar(&m.runners, "runner", nil, "with --matrix: the runner of an architecture, as ARCH=LABEL[,LABEL...] (repeatable; default amd64=ubuntu-latest, arm64=ubuntu-24.04-arm)")
	f.StringVar(&m.changedSince, "changed-since", "", "with --matrix: only what differs from this git revision")
	f.BoolVar(&m.sinceRelease, "changed-since-release", false, "with --matrix: only what differs from the latest published release")
	f.StringVar(&m.repository, "repository", "", "with --changed-since-release: owner/name on GitHub (default: $GITHUB_REPOSITORY)")
	_ = c.RegisterFlagCompletionFunc("repository", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("runner", cobra.FixedCompletions([]string{"amd64=ubuntu-latest", "arm64=ubuntu-24.04-arm"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("changed-since", cobra.NoFileCompletions)
}

// check refuses flags that would do nothing.
func (m *matrixFlags) check(c *cobra.Command, asJSON bool) error {
	if m.matrix && asJSON {
		return fault.Errorf(fault.Input, "--matrix prints JSON anyway, and --json a plan; leave one of them out")
	}
	for _, name := range []string{"runner", "changed-since", "changed-since-release", "repository"} {
		if c.Flags().Changed(name) && !m.matrix {
			return fault.Errorf(fault.Input, "--%s is for --matrix; add that", name)
		}
	}
	if m.changedSince != "" && m.sinceRelease {
		return fault.Errorf(fault.Input, "--changed-since and --changed-since-release compare with different things; leave one of them out")
	}
	if m.repository != "" && !m.sinceRelease {
		return fault.Errorf(fault.Input, "--repository is for --changed-since-release; add that")
	}
	if c.Flags().Changed("changed-since") && m.changedSince == "" {
		return fault.Errorf(fault.Input, "--changed-since: want a git revision, and this is empty; a workflow has it in github.event.before or as origin/${{ github.base_ref }}")
	}
	return nil
}

// planMatrix prints the matrix of every template that the arguments stand for.
func (a *app) planMatrix(ctx context.Context, args []string, in inputs, m matrixFlags) error {
	matrix, err := a.matrix(ctx, "", args, in, m)
	if err != nil {
		return err
	}
	text, err := matrix.JSON()
	if err != nil {
		return err
	}
	for _, note := range matrix.Notes {
		fmt.Fprintf(a.Stderr, "imagebuild: %s\n", a.secrets.String(note))
	}
	unchanged := ""
	if m.sinceRelease {
		unchanged = fmt.Sprintf(", %d unchanged since the latest release", matrix.Unchanged)
	}
	if m.changedSince != "" {
		unchanged = fmt.Sprintf(", %d unchanged since %s", matrix.Unchanged, m.changedSince)
	}
	fmt.Fprintf(a.Stderr, "%s%s\n", count(len(matrix.Cells), "cell"), unchanged)
	if len(matrix.Cells) == 0 {
		fmt.Fprintln(a.Stderr, `There is nothing to build, and GitHub refuses a job with an empty matrix; guard it with
  if: ${{ needs.JOB.outputs.OUTPUT != '{"include":[]}' }}`)
	}
	_, err = fmt.Fprintf(a.Stdout, "%s\n", text)
	return err
}

// matrix plans what the arguments name, which start from the folder root.
func (a *app) matrix(ctx context.Context, root string, args []string, in inputs, m matrixFlags) (_ *build.Matrix, err error) {
	args = below(root, args)
	if root != "" && len(args) == 0 {
		args = []string{root}
	}
	templates, err := build.FindTemplates(args)
	if err != nil {
		return nil, err
	}
	options := build.MatrixOptions{Root: root, Templates: templates, Runners: map[string]string{}}
	if options.Options, err = a.given(in); err != nil {
		return nil, err
	}
	for _, each := range m.runners {
		arch, label, found := strings.Cut(each, "=")
		if !found || arch == "" || label == "" {
			return nil, fault.Errorf(fault.Input, "--runner %q: want ARCH=LABEL, like arm64=ubuntu-24.04-arm", each)
		}
		options.Runners[arch] = label
	}
	if m.changedSince != "" {
		since := &build.Revision{Name: m.changedSince}
		defer func() { err = errors.Join(err, since.Close()) }()
		options.Unchanged = since.Unchanged
	}
	if m.sinceRelease {
		where, err := a.github(m.repository, "plan")
		if err != nil {
			return nil, err
		}
		client, err := github.New(where)
		if err != nil {
			return nil, err
		}
		options.Unchanged = build.SinceRelease(build.LatestRelease(client))
	}
	return build.PlanMatrix(ctx, options)
}

// below names files that are named from a folder as seen from the current one.
func below(root string, names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		if all[i] = name; root != "" && !filepath.IsAbs(name) {
			all[i] = filepath.Join(root, name)
		}
	}
	return all
}
