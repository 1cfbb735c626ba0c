package action

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/workflow"
)

// inputs are the values of action.yml's inputs, which describes them.
type inputs struct {
	command      string
	templates    []string // one, but for command: plan
	platform     string
	arch         string
	matrix       string // JSON
	jobIndex     int
	jobTotal     int // zero outside a matrix
	version      string
	variables    map[string]string
	publish      publishInput
	tag          string
	releaseID    int64
	completeWhen string
	token        string
	kvm          kvmInput
	output       string
	cacheDir     string
	until        build.Stage
	changedSince string
	sinceRelease bool
	awsRole      string // ARN; empty leaves it to the SDK's default chain
}

// publishInput is when to publish.
type publishInput string

const (
	publishAuto  publishInput = "auto"
	publishTrue  publishInput = "true"
	publishFalse publishInput = "false"
)

// kvmInput is whether to look for hardware virtualisation.
type kvmInput string

const (
	kvmAuto     kvmInput = "auto"
	kvmRequired kvmInput = "required"
	kvmOff      kvmInput = "off"
)

// commands are what the action can be asked to do.
var commands = []string{"build", "validate", "plan", "release"} //nolint:gochecknoglobals // a constant list

var rolePattern = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$`) //nolint:gochecknoglobals // a constant

// readInputs checks the inputs. An error names the input as a workflow does.
func readInputs(actions *githubactions.Action) (inputs, error) {
	r := &inputReader{get: actions.GetInput}
	in := inputs{
		command:      r.oneOf("command", commands...),
		templates:    lines(r.get("template")),
		platform:     r.get("platform"),
		arch:         r.get("arch"),
		matrix:       r.get("matrix"),
		jobIndex:     int(r.number("job-index")),
		jobTotal:     int(r.number("job-total")),
		version:      r.get("version"),
		variables:    r.assignments("variables"),
		publish:      publishInput(r.oneOf("publish", string(publishAuto), string(publishTrue), string(publishFalse))),
		tag:          r.get("tag"),
		releaseID:    r.number("release-id"),
		completeWhen: r.oneOf("complete-when", "template", "matrix"),
		token:        r.get("github-token"),
		kvm:          kvmInput(r.oneOf("kvm", string(kvmAuto), string(kvmRequired), string(kvmOff))),
		output:       r.get("output"),
		cacheDir:     r.get("cache-dir"),
		until:        build.Stage(r.oneOf("until", string(build.StageVerify), string(build.StagePack), string(build.StageProvision))),
		changedSince: r.get("changed-since"),
		sinceRelease: r.oneOf("changed-since-release", "false", "true") == "true",
		awsRole:      r.get("aws-role"),
	}
	if in.sinceRelease && in.changedSince != "" {
		r.fail("changed-since", "it and changed-since-release compare with different things; set one of them")
	}
	if in.awsRole != "" && !rolePattern.MatchString(in.awsRole) {
		r.fail("aws-role", "%q: want the ARN of a role, as arn:aws:iam::123456789012:role/images", in.awsRole)
	}
	if in.output == "" {
		in.output = "out"
	}
	if len(in.templates) > 1 && in.command != "plan" {
		r.fail("template", "%d templates for one build; name one, or make a matrix of them with command: plan", len(in.templates))
	}
	return in, r.faults.Err()
}

// inputReader collects every wrong input, to report them together.
type inputReader struct {
	get    func(name string) string
	faults fault.List
}

func (r *inputReader) fail(name, format string, args ...any) {
	r.faults.Add(fault.Position{Field: "input " + name}, format, args...)
}

// oneOf returns the input, or the first value when it is empty.
func (r *inputReader) oneOf(name string, values ...string) string {
	given := r.get(name)
	if given == "" {
		return values[0]
	}
	for _, value := range values {
		if given == value {
			return value
		}
	}
	r.fail(name, "%q: want one of %s", given, strings.Join(values, ", "))
	return values[0]
}

func (r *inputReader) number(name string) int64 {
	given := r.get(name)
	if given == "" || given == "null" {
		return 0
	}
	n, err := strconv.ParseInt(given, 10, 64)
	if err != nil || n < 0 {
		r.fail(name, "%q: want a number", given)
	}
	return n
}

// assignments reads lines of name=value, or a mapping.
func (r *inputReader) assignments(name string) map[string]string {
	values, err := workflow.ParseVariables(r.get(name))
	if err != nil {
		r.fail(name, "%v", err)
	}
	return values
}

// lines returns those that are not empty, trimmed.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
