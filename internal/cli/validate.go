package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/template"
)

func (a *app) validateCommand() *cobra.Command {
	var in inputs
	c := &cobra.Command{
		Use:   "validate [TEMPLATE]",
		Short: "Say everything that is wrong with a template, at once",
		Long: `Reads the template as a build would, for every platform, and checks what can be
checked without network, root or tools: keys, types, names, expressions,
variables, and the files that it names. Every fault is reported, with
file:line:column and the path of the field. Exit code 2 when there is any.`,
		Example:           "  imagebuild validate\n  imagebuild validate images/web.yml --var release=trixie",
		Args:              oneTemplate,
		ValidArgsFunction: completeTemplate,
		RunE: func(c *cobra.Command, args []string) error {
			path, p, err := a.plan(c.Context(), args, in)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "%s: %s, %s, %s\n", path, p.Name, count(len(p.Cells), "platform"), count(steps(p), "step"))
			return nil
		},
	}
	in.register(c)
	return c
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the template",
		Long: `Prints a JSON Schema (draft 2020-12) made from the types that the loader itself
uses. Editors with a YAML language server complete and check templates with it.`,
		Example: "  imagebuild schema > imagebuild.schema.json\n  # first line of the template:\n  # yaml-language-server: $schema=imagebuild.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			schema, err := template.Schema(build.Registry())
			if err != nil {
				return err
			}
			_, err = a.Stdout.Write(schema)
			return err
		},
	}
}

// plan resolves the template that the arguments name, and returns its path too.
func (a *app) plan(ctx context.Context, args []string, in inputs) (path string, p *plan.Plan, err error) {
	options, err := a.options(args, in)
	if err != nil {
		return "", nil, err
	}
	p, err = build.Plan(ctx, options)
	return options.Template, p, err
}

func printJSON(a *app, value any) error {
	encoder := json.NewEncoder(a.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// steps counts the template's provisioning steps, whichever platforms they
// are for.
func steps(p *plan.Plan) int {
	fields := map[string]bool{}
	for _, t := range p.Trees {
		for _, s := range t.Steps {
			fields[s.Field] = true
		}
	}
	return len(fields)
}
