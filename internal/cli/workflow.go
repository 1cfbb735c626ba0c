package cli

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/workflow"
)

// workflowFlags choose what is built of a workflow.
type workflowFlags struct{ path, job string }

func (w *workflowFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&w.path, "workflow", "", "build every cell of this GitHub workflow's matrix, instead of one template")
	c.Flags().StringVar(&w.job, "job", "", "with --workflow: only this job (default: every job that uses the action)")
	_ = c.RegisterFlagCompletionFunc("workflow", completeWorkflow)
	_ = c.RegisterFlagCompletionFunc("job", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if file, err := workflow.Load(w.path); err == nil {
			for _, job := range file.Jobs() {
				names = append(names, job.ID)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

// completeWorkflow offers the workflows that GitHub would run, else any file.
func completeWorkflow(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, pattern := range []string{"*.yml", "*.yaml"} {
		found, _ := filepath.Glob(filepath.Join(".github", "workflows", pattern))
		names = append(names, found...)
	}
	if slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, typed) }) {
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"yml", "yaml"}, cobra.ShellCompDirectiveFilterFileExt
}

func (w *workflowFlags) check(c *cobra.Command, args []string) error {
	switch {
	case c.Flags().Changed("job") && w.path == "":
		return fault.Errorf(fault.Input, "--job is for --workflow; add that")
	case w.path != "" && len(args) > 0:
		return fault.Errorf(fault.Input, "a workflow names its templates itself; leave out %s, or --workflow", args[0])
	case c.Flags().Changed("workflow") && w.path == "":
		return fault.Errorf(fault.Input, "--workflow: want a workflow's file, and this is empty")
	}
	return nil
}

// planner runs the "imagebuild plan --matrix" of a workflow's own job.
func (a *app) planner(file *workflow.File) workflow.Planner {
	return func(ctx context.Context, command workflow.Command) (string, error) {
		var in inputs
		var m matrixFlags
		c := &cobra.Command{Use: "plan"}
		in.register(c)
		m.register(c)
		if err := c.ParseFlags(command.Args); err != nil {
			return "", fault.Errorf(fault.Input, "%s: imagebuild plan: %w", file.Path(), err)
		}
		root := filepath.Join(file.Folder(), command.Folder)
		in.varFiles = below(root, in.varFiles)
		matrix, err := a.matrix(ctx, root, c.Flags().Args(), in, m)
		if err != nil {
			return "", err
		}
		text, err := matrix.JSON()
		return string(text), err
	}
}
