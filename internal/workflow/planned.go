package workflow

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mattn/go-shellwords"
	"github.com/rhysd/actionlint"
	"gopkg.in/yaml.v3"
)

// Command is an "imagebuild plan" that a job of the workflow runs.
type Command struct {
	Args   []string // after "plan"
	Folder string   // the step's working-directory, from the repository's root
}

// Planner runs such a command and returns what it prints: the matrix.
type Planner func(context.Context, Command) (string, error)

// output finds out what a job of this workflow hands to others: only what it
// planned.
func (s *scope) output(root *actionlint.VariableNode, job, name string) (any, error) {
	at := func(format string, args ...any) error {
		message := fmt.Sprintf("needs.%s.outputs.%s is known to GitHub only: ", job, name) + fmt.Sprintf(format, args...) +
			"; write the matrix out, or make it with a step that says " + name + "=$(imagebuild plan --matrix)"
		return &expressionFault{root.Token().Offset, message}
	}
	jobs := get(s.file.doc.Root, "jobs")
	from := get(jobs, job)
	if from == nil {
		return nil, at("there is no job %s", job)
	}
	content := get(get(from, "outputs"), name)
	if content == nil {
		return nil, at("the job %s has no such output", job)
	}
	stepID, output, ok := stepOutput(content)
	if !ok {
		return nil, at("it is not just the output of a step")
	}
	for _, step := range items(get(from, "steps")) {
		if id := get(step, "id"); id == nil || id.Value != stepID {
			continue
		}
		command, ok, err := s.planCommand(from, resolve(step), output)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, at("the step %s does not plan it", stepID)
		case s.plan == nil:
			return nil, at("nothing is planned here")
		}
		text, err := s.plan(s.ctx, command)
		return text, err
	}
	return nil, at("the job %s has no step %s", job, stepID)
}

// stepOutput reads ${{ steps.ID.outputs.NAME }}.
func stepOutput(node *yaml.Node) (id, name string, ok bool) {
	parts, wrong := split(strings.TrimSpace(node.Value))
	if wrong != nil || len(parts) != 1 || parts[0].tree == nil {
		return "", "", false
	}
	root, names, ok := lookUp(parts[0].tree)
	if !ok || !strings.EqualFold(root.Name, "steps") || len(names) != 3 || !strings.EqualFold(names[1], "outputs") {
		return "", "", false
	}
	return names[0], names[2], true
}

// planned finds imagebuild plan in a script.
const planned = `(?:^|[\s"'{;])%s=\$\((?:[\w./-]*/)?imagebuild[ \t]+plan\b([^()\n]*)\)`

// narrowing is what leaves cells out because nothing changed in them. Here all
// are wanted, and what it compares with is GitHub's to know.
var narrowing = regexp.MustCompile(`--changed-since(?:=|\s+)(?:"[^"]*"|'[^']*'|(?:[^\s"'$]|\$\{\{[^}]*\}\}|\$\w+)+)|--since-release\b`) //nolint:gochecknoglobals // compiled once

// planCommand reads the step that plans: our action with the command plan, or
// a script that runs the program.
func (s *scope) planCommand(job, step *yaml.Node, output string) (c Command, ok bool, err error) {
	if uses := get(step, "uses"); uses != nil {
		if !ours.MatchString(uses.Value) {
			return c, false, nil
		}
		cell := &Cell{scope: scope{ctx: s.ctx, file: s.file, job: job, step: step}}
		command, _, err := cell.Input("command")
		if err != nil || command != "plan" {
			return c, false, err
		}
		c.Args, err = actionArgs(cell)
		return c, err == nil, err
	}
	script := get(step, "run")
	if script == nil {
		return c, false, nil
	}
	pattern, err := regexp.Compile(fmt.Sprintf(planned, regexp.QuoteMeta(output)))
	if err != nil {
		return c, false, s.file.failAt(script, "the output %q cannot be looked for: %v", output, err)
	}
	// One line continued with a backslash is one command.
	found := pattern.FindStringSubmatch(strings.ReplaceAll(script.Value, "\\\n", " "))
	if found == nil {
		return c, false, nil
	}
	arguments := narrowing.ReplaceAllString(found[1], "")
	if i := strings.IndexAny(arguments, "$`|;&<>"); i >= 0 {
		return c, false, s.file.failAt(script, "imagebuild plan%s: a shell or GitHub would expand that; write its arguments out", arguments)
	}
	if c.Args, err = shellwords.Parse(arguments); err != nil {
		return c, false, s.file.failAt(script, "the arguments of imagebuild plan cannot be read: %v", err)
	}
	if folder := get(step, "working-directory"); folder != nil {
		c.Folder = folder.Value
	}
	return c, slices.Contains(c.Args, "--matrix"), nil
}

// actionArgs are the inputs of the action's plan as the program's arguments.
// changed-since is left out, as narrowing is.
func actionArgs(cell *Cell) ([]string, error) {
	args := []string{"--matrix"}
	for _, each := range []struct{ input, flag string }{
		{"template", ""}, {"platform", "--platform="}, {"arch", "--arch="}, {"version", "--version="}, {"variables", "--var="},
	} {
		text, _, err := cell.Input(each.input)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				args = append(args, each.flag+line)
			}
		}
	}
	return args, nil
}
