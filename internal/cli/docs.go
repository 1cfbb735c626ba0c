package cli

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/org/imagebuild-action/internal/run"
)

// docsCommand writes the reference below docs/: one page a command and one a
// kind, from the code. CI regenerates it and fails when it is stale.
func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{
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
			return writeKinds(filepath.Join(args[0], "template.md"))
		},
	}
}
