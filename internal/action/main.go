package action

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/workflow"
)

// main is the action's main stage.
func (j *job) main(ctx context.Context) error {
	in, err := readInputs(j.actions)
	if err != nil {
		return err
	}
	if err := j.secrets.Add(in.token); err != nil {
		return fault.Errorf(fault.Input, "input github-token: %w", err)
	}
	github, err := j.actions.Context()
	if err != nil {
		return fault.Errorf(fault.Environment, "read the job's context: %w", err)
	}
	c := &cell{job: j, in: in, github: github}
	switch in.command {
	case "validate":
		return c.validate(ctx)
	case "plan":
		return c.planMatrix(ctx)
	case "release":
		return c.closeRelease(ctx)
	}
	if err := j.elsewhere(ctx, in); err != nil {
		return err
	}
	return c.run(ctx)
}

// cell is the part of the matrix that this job stands for.
type cell struct {
	*job
	in       inputs
	github   *githubactions.GitHubContext
	decision decision
	options  build.Options
	plan     *plan.Plan
	summary  summary
}

// run builds the cell, and publishes it where the event asks for it.
func (c *cell) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, c.leave(err)) }()
	c.summary.title = "imagebuild"
	if c.decision, err = decide(c.github, c.in); err != nil {
		return err
	}
	c.console.line("publish: %t (%s)", c.decision.publish, c.decision.why)
	if err := c.resolve(ctx); err != nil {
		return err
	}
	var target *publication
	if c.decision.publish {
		if target, err = c.prepare(ctx); err != nil {
			return err
		}
		if done, err := target.present(ctx); err != nil || done {
			return err
		}
	}
	if c.summary.result, err = build.Run(ctx, c.options); err != nil {
		return err
	}
	values, err := buildOutputs(c.summary.result, c.in.output)
	if err != nil {
		return err
	}
	if err := c.setOutputs(values); err != nil {
		return err
	}
	if target == nil {
		return nil
	}
	return target.publish(ctx)
}

// resolve finds out what to build, and shows every fault of the template.
func (c *cell) resolve(ctx context.Context) error {
	var err error
	if c.options, err = c.buildOptions(); err != nil {
		return err
	}
	if c.plan, err = build.Plan(ctx, c.options); err != nil {
		return err
	}
	for _, value := range c.secrets.Values() {
		c.console.mask(value)
	}
	if c.decision.tag == "" {
		c.decision.tag = "v" + c.plan.Version
	}
	var cells []string
	for _, each := range c.plan.Cells {
		cells = append(cells, each.Platform+" "+each.Arch)
	}
	if c.in.jobTotal <= 1 && len(c.plan.Cells) > 1 {
		c.console.annotate("notice", fault.Position{}, fmt.Sprintf(
			"this job has no matrix, so it builds all %d cells itself; with strategy: {matrix: {platform: [...]}} they are built side by side", len(cells)))
	}
	c.summary.title = fmt.Sprintf("%s %s: %s", c.plan.Name, c.plan.Version, strings.Join(cells, ", "))
	c.summary.commit = c.github.SHA
	c.summary.reproduce = c.command()
	c.summary.fact("plan", "%s", code("sha256:"+c.plan.Digest))
	c.summary.fact("published", "%s", escape(fmt.Sprintf("%t: %s", c.decision.publish, c.decision.why)))
	if c.decision.fork {
		c.summary.fact("fork", "The pull request comes from another repository: its job sees no secrets and publishes nothing.")
	}
	how, err := c.acceleration()
	if err != nil {
		return err
	}
	c.summary.fact("boots", "%s", escape(how))
	if c.grant.MountsReason != "" {
		c.summary.fact("mounts", "%s", escape(c.grant.MountsReason))
	}
	return nil
}

// buildOptions turns the inputs and the matrix into what a build is given.
func (c *cell) buildOptions() (build.Options, error) {
	matrix, err := workflow.ParseMatrix(c.in.matrix)
	if err != nil {
		return build.Options{}, fault.Errorf(fault.Input, "input matrix: %w; leave the input out to get the job's own", err)
	}
	given := workflow.Inputs{Arch: c.in.arch, Vars: c.in.variables}
	if len(c.in.templates) > 0 {
		given.Template = c.in.templates[0]
	}
	if c.in.platform != "" {
		given.Platforms = strings.FieldsFunc(c.in.platform, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	}
	name, err := workflow.Template(matrix, given)
	if err != nil {
		return build.Options{}, err
	}
	path, err := c.inside("template", name, build.DefaultTemplate)
	if err != nil {
		return build.Options{}, err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, build.DefaultTemplate)
	}
	described, err := build.Describe(path)
	if err != nil {
		return build.Options{}, err
	}
	choice, err := workflow.Select(matrix, given, described.Known)
	if err != nil {
		return build.Options{}, err
	}
	epoch, err := build.Epoch(c.LookupEnv)
	if err != nil {
		return build.Options{}, err
	}
	output, err := c.inside("output", c.in.output, "")
	if err != nil {
		return build.Options{}, err
	}
	cacheDir, err := c.cacheDir()
	if err != nil {
		return build.Options{}, err
	}
	return build.Options{
		Template: path, Vars: choice.Vars, Matrix: choice.Matrix, LookupEnv: c.LookupEnv, Platforms: choice.Platforms, Arch: choice.Arch,
		Version: cmp.Or(c.decision.version, c.in.version), Tag: c.decision.tag, Epoch: epoch, Secrets: c.secrets, Generator: c.Generator,
		Output: output, CacheDir: cacheDir, CacheLimit: build.DefaultCacheLimit, Until: c.in.until, Accel: c.accel(), Report: reporter{c.console},
		Publish: c.decision.publish, Access: c.access(c.in), RunHint: c.runHint(),
	}, nil
}

// cacheDir is where downloads and checkpoints go.
func (c *cell) cacheDir() (string, error) {
	if c.in.cacheDir == "" {
		return build.CacheDir(c.LookupEnv)
	}
	return c.absolute(c.in.cacheDir), nil
}

// absolute names a file from the workspace.
func (j *job) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(j.workspace, path)
}

// inside is a path of an input, which has to stay in the workspace: what lies
// outside is another job's, or the runner's.
func (c *cell) inside(input, path, fallback string) (string, error) {
	if path == "" {
		path = fallback
	}
	full := c.absolute(path)
	relative, err := filepath.Rel(resolved(c.workspace), resolved(full))
	if err != nil || !filepath.IsLocal(relative) {
		return "", fault.Errorf(fault.Input, "input %s: %s is outside the workspace %s; name a path in the repository", input, path, c.workspace)
	}
	return full, nil
}

// resolved follows the symbolic links of the part of a path that exists.
func resolved(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		return filepath.Join(resolved(filepath.Dir(path)), filepath.Base(path))
	}
	if err != nil {
		return path
	}
	return real
}

// command is what builds the same on a person's machine.
func (c *cell) command() []string {
	argv := []string{"imagebuild", "build", c.relative(c.options.Template)}
	for _, platform := range c.options.Platforms {
		argv = append(argv, "--platform", platform)
	}
	if c.options.Arch != "" {
		argv = append(argv, "--arch", c.options.Arch)
	}
	argv = append(argv, "--version", c.plan.Version)
	names := make([]string, 0, len(c.options.Vars))
	for name := range c.options.Vars {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		argv = append(argv, "--var", name+"="+c.secrets.String(c.options.Vars[name]))
	}
	return argv
}

// relative names a file as the repository does.
func (j *job) relative(path string) string {
	if below, err := filepath.Rel(j.workspace, path); err == nil {
		return below
	}
	return path
}

func (j *job) setOutputs(values map[string]string) error {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := j.setValue("GITHUB_OUTPUT", name, j.secrets.String(values[name])); err != nil {
			return err
		}
	}
	return nil
}

// leave writes the summary and hands the files over to the job's other steps,
// however the build went.
func (c *cell) leave(cause error) error {
	c.summary.err = cause
	if bundle := filepath.Join(c.options.Output, failure.Dir); cause != nil && c.options.Output != "" {
		if files, err := failure.List(bundle); err == nil && len(files) > 0 {
			c.summary.failure, c.summary.failureFiles = filepath.Join(c.in.output, failure.Dir), files
		}
	}
	err := c.addSummary(c.summary.markdown())
	if c.options.Output != "" {
		err = errors.Join(err, handOver(c.workspace, c.options.Output, c.options.CacheDir))
	}
	if c.unfinished {
		return run.Explain(err)
	}
	return errors.Join(run.Explain(err), c.setValue("GITHUB_STATE", stateDone, "yes"))
}
