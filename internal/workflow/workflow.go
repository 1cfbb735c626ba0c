// Package workflow reads a GitHub workflow as far as it decides what is built:
// the jobs with a step that uses the action, the matrix of each, expanded as
// GitHub does, and what the step hands over under with.
//
//	file, err := workflow.Load(".github/workflows/images.yml")
//	for _, job := range file.Jobs() {
//		cells, err := job.Cells(ctx, planner)
//		platform, given, err := cells[0].Input("platform")
//	}
//
// Select is the rule by which a matrix chooses what is built, for the command
// line and for the action alike.
//
// It refuses what cannot be known outside of GitHub: github, inputs, vars,
// secrets, and outputs of other jobs, but for a matrix that a job of this
// workflow makes with "imagebuild plan --matrix". A value is looked at only
// when it is asked for, so a token in an input that nobody reads is no error.
// Conditions (if), fail-fast, max-parallel and reusable workflows are not
// looked at.
package workflow

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/yamltext"
)

// maxBytes is the largest workflow that is read; GitHub's own limit is half of
// it.
const maxBytes = 1 << 20

// File is a workflow that was read.
type File struct {
	path string
	doc  *yamltext.Document
}

// Load reads a workflow.
func Load(name string) (*File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.Errorf(fault.Input, "%w; name a workflow, or run imagebuild init to write one", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fault.Errorf(fault.Input, "read the workflow: %w", err)
	}
	return Parse(name, data)
}

// Parse is Load for a workflow whose text is at hand; name is where it is said
// to be.
func Parse(name string, data []byte) (*File, error) {
	f := &File{path: name}
	if len(data) > maxBytes {
		return nil, f.fail(yamltext.Place{}, "the workflow is larger than 1 MiB")
	}
	doc, err := yamltext.Parse(data, "workflow")
	var wrong *yamltext.Error
	if errors.As(err, &wrong) {
		return nil, f.fail(wrong.Place, "%s", wrong.Message)
	}
	f.doc = doc
	if doc.Root == nil {
		return nil, f.fail(yamltext.Place{Line: 1, Column: 1}, "the workflow is empty; imagebuild init writes one to start from")
	}
	if jobs := get(doc.Root, "jobs"); jobs == nil || jobs.Kind != yaml.MappingNode {
		return nil, f.failAt(doc.Root, "this is not a workflow: it has no jobs")
	}
	return f, nil
}

// Path is where the workflow was read.
func (f *File) Path() string { return f.path }

// Folder is the root of the repository that the workflow belongs to, from
// which its paths start: the folder of .github/workflows, else the current one.
func (f *File) Folder() string {
	dir := filepath.ToSlash(filepath.Dir(f.path))
	if dir == ".github/workflows" {
		return "."
	}
	if root, ok := strings.CutSuffix(dir, "/.github/workflows"); ok {
		return filepath.FromSlash(cmp.Or(root, "/"))
	}
	return "."
}

// ours is what a step's uses looks like when it is this action: of any owner,
// in a folder of this repository, or as an image.
var ours = regexp.MustCompile(`(?i)^(?:[^/@\s]+/imagebuild-action(?:/[^@\s]*)?@\S+|\./|\./(?:\S*/)?imagebuild-action/?|docker://\S*imagebuild-action\S*)$`) //nolint:gochecknoglobals // compiled once

// Job is a job with a step that uses the action.
type Job struct {
	ID    string
	file  *File
	node  *yaml.Node
	steps []*yaml.Node // that use the action
}

// Jobs lists the jobs that use the action, in order.
func (f *File) Jobs() []*Job {
	var jobs []*Job
	for id, node := range members(get(f.doc.Root, "jobs")) {
		job := &Job{ID: id.Value, file: f, node: resolve(node)}
		for _, step := range items(get(job.node, "steps")) {
			if uses := get(step, "uses"); uses != nil && ours.MatchString(strings.TrimSpace(uses.Value)) {
				job.steps = append(job.steps, resolve(step))
			}
		}
		if len(job.steps) > 0 {
			jobs = append(jobs, job)
		}
	}
	return jobs
}

// Choose returns the job of that name, or with no name all that use the action.
func (f *File) Choose(name string) ([]*Job, error) {
	jobs := f.Jobs()
	if name == "" {
		if len(jobs) == 0 {
			return nil, f.failAt(get(f.doc.Root, "jobs"), "no job uses the action; give a step uses: OWNER/imagebuild-action@REF (jobs are %s)", f.jobNames())
		}
		return jobs, nil
	}
	for _, job := range jobs {
		if job.ID == name {
			return []*Job{job}, nil
		}
	}
	if node := get(get(f.doc.Root, "jobs"), name); node != nil {
		return nil, f.failAt(node, "the job %s has no step that uses the action", name)
	}
	return nil, f.failAt(get(f.doc.Root, "jobs"), "there is no job %q; there are %s", name, f.jobNames())
}

func (f *File) jobNames() string {
	var names []string
	for id := range members(get(f.doc.Root, "jobs")) {
		names = append(names, id.Value)
	}
	return strings.Join(names, ", ")
}

func (f *File) position(at yamltext.Place) fault.Position {
	return fault.Position{File: f.path, Line: at.Line, Column: at.Column}
}

func (f *File) fail(at yamltext.Place, format string, args ...any) error {
	return fault.Wrap(fault.Input, &fault.Located{Position: f.position(at), Message: fmt.Sprintf(format, args...)})
}

func (f *File) failAt(node *yaml.Node, format string, args ...any) error {
	return f.fail(yamltext.Place{Line: node.Line, Column: node.Column}, format, args...)
}
