package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/org/imagebuild-action/internal/actionfile"
	"github.com/org/imagebuild-action/internal/run"
)

// docsCommand writes the reference below docs/: a page for each command, one
// for the template and one for the action, from what reads them. CI does it
// again and fails when they are stale.
func (a *app) docsCommand() *cobra.Command {
	var action, readme string
	c := &cobra.Command{
		Use:    "docs FOLDER",
		Short:  "Write the reference manual as Markdown",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			commands := filepath.Join(args[0], "commands")
			if err := os.MkdirAll(commands, 0o755); err != nil {
				return run.Explain(err)
			}
			root := c.Root()
			root.InitDefaultCompletionCmd()
			if err := doc.GenMarkdownTree(root, commands); err != nil {
				return run.Explain(err)
			}
			if err := writeKinds(filepath.Join(args[0], "template.md")); err != nil || action == "" {
				return err
			}
			return writeAction(action, filepath.Join(args[0], "action.md"), readme)
		},
	}
	c.Flags().StringVar(&action, "action", "", "an action.yml to write action.md from")
	c.Flags().StringVar(&readme, "readme", "", "a document whose tables of inputs and outputs are renewed")
	return c
}

// writeAction writes the manual of the action, and its tables into the readme.
func writeAction(action, manual, readme string) error {
	f, err := actionfile.Load(action)
	if err != nil {
		return err
	}
	if err := writeFile(manual, []byte(f.Manual()), 0o644); err != nil || readme == "" {
		return err
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		return run.Explain(err)
	}
	filled, err := actionfile.Fill(text, f.Tables())
	if err != nil {
		return fmt.Errorf("%s: %w", readme, err)
	}
	return writeFile(readme, filled, 0o644)
}
