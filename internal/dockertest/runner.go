package dockertest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// RunnerLabel is what a runner marks its containers with: six digits of its own.
const RunnerLabel = "1a2b3c"

// Job is a job on a runner: its folders, which all of its steps share.
type Job struct {
	// Workspace is the checkout.
	Workspace string
	// Env are variables that every step gets, as GITHUB_REF. They win over the
	// defaults.
	Env map[string]string

	docker *Docker
	temp   string
	state  map[string]string
	steps  int
}

// Step is one start of a container action.
type Step struct {
	Image string
	// Entrypoint is the action's entrypoint, or its post-entrypoint.
	Entrypoint string
	// Args are the action's args.
	Args []string
	// Inputs are by their names in action.yml.
	Inputs map[string]string
	Env    map[string]string
	// Network is the job's network; empty means the host's, for the servers that
	// tests have on loopback.
	Network string
	// Event is the content of event.json.
	Event string
}

// Result is how a step ended.
type Result struct {
	Code           int
	Stdout, Stderr string
	Outputs        map[string]string
	State          map[string]string
	Env            map[string]string
	Summary        string
}

// NewJob makes a job with an empty workspace.
func (d *Docker) NewJob(t testing.TB) *Job {
	t.Helper()
	// The path must not tell the test's name.
	dir := testkit.Scratch(t)
	j := &Job{docker: d, Workspace: filepath.Join(dir, "work"), temp: filepath.Join(dir, "_temp"), state: map[string]string{}}
	for _, each := range []string{j.Workspace, j.home(), j.workflow(), j.commands()} {
		if err := os.MkdirAll(each, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

func (j *Job) home() string     { return filepath.Join(j.temp, "_github_home") }
func (j *Job) workflow() string { return filepath.Join(j.temp, "_github_workflow") }
func (j *Job) commands() string { return filepath.Join(j.temp, "_runner_file_commands") }

// fileCommands are the files through which a step talks to the runner.
var fileCommands = map[string]string{ //nolint:gochecknoglobals // a constant table
	"GITHUB_OUTPUT": "set_output_", "GITHUB_STATE": "save_state_", "GITHUB_ENV": "set_env_",
	"GITHUB_PATH": "add_path_", "GITHUB_STEP_SUMMARY": "step_summary_",
}

// variables is a step's environment, as the runner translates it for a
// container.
func (j *Job) variables(step Step, id string) map[string]string {
	env := map[string]string{
		"HOME": "/github/home", "GITHUB_WORKSPACE": "/github/workspace", "GITHUB_EVENT_PATH": "/github/workflow/event.json",
		"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch",
		"GITHUB_REPOSITORY": "org/images", "GITHUB_REPOSITORY_OWNER": "org", "GITHUB_SHA": strings.Repeat("0123456789", 4),
		"GITHUB_RUN_ID": "4242", "GITHUB_RUN_NUMBER": "7", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "image", "GITHUB_ACTION": "__org_imagebuild-action",
		"GITHUB_ACTOR": "octocat", "GITHUB_WORKFLOW": "images", "GITHUB_API_URL": "http://127.0.0.1:9", "GITHUB_SERVER_URL": "http://127.0.0.1:9",
		"RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "RUNNER_NAME": "test", "RUNNER_ENVIRONMENT": "self-hosted", "RUNNER_TEMP": "/github/runner_temp",
		"RUNNER_TOOL_CACHE": "/opt/hostedtoolcache", "RUNNER_WORKSPACE": filepath.Dir(j.Workspace),
		"ACTIONS_RUNTIME_URL": "http://127.0.0.1:9/", "ACTIONS_RUNTIME_TOKEN": "not-a-token", "ACTIONS_RESULTS_URL": "http://127.0.0.1:9/",
	}
	for name, prefix := range fileCommands {
		env[name] = "/github/file_commands/" + prefix + id
	}
	for name, value := range j.state {
		env["STATE_"+name] = value
	}
	for name, value := range step.Inputs {
		env["INPUT_"+strings.ToUpper(strings.ReplaceAll(name, " ", "_"))] = value
	}
	maps.Copy(env, j.Env)
	maps.Copy(env, step.Env)
	return env
}

// Command is the command line with which the runner starts a container action,
// in its order (DockerCommandManager.cs and ContainerActionHandler.cs of
// actions/runner). Values are in the environment only.
func (j *Job) Command(step Step, name string, env map[string]string) []string {
	argv := []string{"run", "--name", name, "--label", RunnerLabel, "--workdir", "/github/workspace", "--rm"}
	for _, each := range slices.Sorted(maps.Keys(env)) {
		argv = append(argv, "-e", each)
	}
	argv = append(argv, "-e", "GITHUB_ACTIONS=true")
	if _, set := env["CI"]; !set {
		argv = append(argv, "-e", "CI=true")
	}
	if step.Entrypoint != "" {
		argv = append(argv, "--entrypoint", step.Entrypoint)
	}
	network := step.Network
	if network == "" {
		network = "host"
	}
	argv = append(argv, "--network", network)
	for _, mount := range [][2]string{
		{j.docker.Socket, "/var/run/docker.sock"},
		{j.temp, "/github/runner_temp"},
		{j.home(), "/github/home"},
		{j.workflow(), "/github/workflow"},
		{j.commands(), "/github/file_commands"},
		{j.Workspace, "/github/workspace"},
	} {
		argv = append(argv, "-v", mount[0]+":"+mount[1])
	}
	return append(append(argv, step.Image), step.Args...)
}

// Running is a step under way.
type Running struct {
	// Name is the container's.
	Name string
	// Stdout and Stderr grow while it runs.
	Stdout, Stderr *Log

	job     *Job
	id      string
	process *run.Process
}

// Run runs a step to its end.
func (j *Job) Run(t testing.TB, step Step) *Result {
	t.Helper()
	return j.Start(t, step).Wait(t)
}

// Start starts a step.
func (j *Job) Start(t testing.TB, step Step) *Running {
	t.Helper()
	j.steps++
	id := fmt.Sprintf("%08d-0000-4000-8000-000000000000", j.steps)
	if step.Event == "" {
		step.Event = "{}"
	}
	files := map[string]string{filepath.Join(j.workflow(), "event.json"): step.Event}
	for _, prefix := range fileCommands {
		files[filepath.Join(j.commands(), prefix+id)] = ""
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil { //nolint:gosec // as the runner does
			t.Fatal(err)
		}
	}
	env := j.variables(step, id)
	r := &Running{Name: fmt.Sprintf("%s_%06x", strings.NewReplacer(":", "", "-", "", "/", "").Replace(step.Image), j.steps), Stdout: &Log{}, Stderr: &Log{}, job: j, id: id}
	spec := j.docker.Spec(j.Command(step, r.Name, env)...)
	for name, value := range env {
		spec.Env = append(spec.Env, name+"="+value)
	}
	spec.Stdout, spec.Stderr = r.Stdout, r.Stderr
	process, err := run.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	r.process = process
	return r
}

// Cancel ends the step as a runner does (ProcessInvoker.cs): SIGINT to the
// client, SIGTERM after 7.5 s, and 2.5 s later the client is killed, which leaves
// the container to itself. It returns how long the client lived on.
func (r *Running) Cancel() time.Duration {
	begun := time.Now()
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, 7500 * time.Millisecond}, {syscall.SIGTERM, 2500 * time.Millisecond}, {syscall.SIGKILL, time.Minute}} {
		_ = syscall.Kill(r.process.Pid(), step.signal)
		select {
		case <-r.process.Done():
			return time.Since(begun)
		case <-time.After(step.wait):
		}
	}
	return time.Since(begun)
}

// Wait returns how the step ended, and takes its state over into the job.
func (r *Running) Wait(t testing.TB) *Result {
	t.Helper()
	err := r.process.Wait()
	result := &Result{Stdout: r.Stdout.String(), Stderr: r.Stderr.String()}
	var exit *run.ExitError
	switch {
	case errors.As(err, &exit):
		result.Code = exit.Status
	case err != nil:
		t.Fatal(err)
	}
	result.Outputs = r.pairs(t, "set_output_")
	result.State = r.pairs(t, "save_state_")
	result.Env = r.pairs(t, "set_env_")
	result.Summary = r.file(t, "step_summary_")
	maps.Copy(r.job.state, result.State)
	return result
}

func (r *Running) file(t testing.TB, prefix string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.job.commands(), prefix+r.id))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (r *Running) pairs(t testing.TB, prefix string) map[string]string {
	t.Helper()
	pairs, err := parsePairs(r.file(t, prefix))
	if err != nil {
		t.Errorf("%s: %v", prefix, err)
	}
	return pairs
}

// parsePairs reads a file of NAME=VALUE and NAME<<DELIMITER, as the runner does
// (FileCommandManager.cs).
func parsePairs(text string) (map[string]string, error) {
	pairs := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		equals, heredoc := strings.Index(lines[i], "="), strings.Index(lines[i], "<<")
		switch {
		case lines[i] == "":
		case equals > 0 && (heredoc < 0 || equals < heredoc):
			pairs[lines[i][:equals]] = lines[i][equals+1:]
		case heredoc > 0:
			name, delimiter := lines[i][:heredoc], lines[i][heredoc+2:]
			end := slices.Index(lines[i+1:], delimiter)
			if delimiter == "" || end < 0 {
				return pairs, fmt.Errorf("%s: its delimiter %q is missing", name, delimiter)
			}
			pairs[name] = strings.Join(lines[i+1:i+1+end], "\n")
			i += end + 1
		default:
			return pairs, fmt.Errorf("line %d: %q is no pair", i+1, lines[i])
		}
	}
	return pairs, nil
}
