package dockertest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The order and form are those of DockerCommandManager.cs.
func TestCommand(t *testing.T) {
	j := &Job{Workspace: "/r/work", temp: "/r/_temp", docker: &Docker{Socket: "/s"}, state: map[string]string{"id": "7"}}
	step := Step{Image: "image:1", Entrypoint: "/usr/local/bin/imagebuild-action-post", Inputs: map[string]string{"github-token": "x", "two words": "y"}}
	env := j.variables(step, "42")
	for name, want := range map[string]string{
		"INPUT_GITHUB-TOKEN": "x", "INPUT_TWO_WORDS": "y", "STATE_id": "7", "HOME": "/github/home",
		"GITHUB_OUTPUT": "/github/file_commands/set_output_42",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	argv := j.Command(step, "name", map[string]string{"B": "2", "A": "1"})
	want := []string{
		"run", "--name", "name", "--label", RunnerLabel, "--workdir", "/github/workspace", "--rm", "-e", "A", "-e", "B",
		"-e", "GITHUB_ACTIONS=true", "-e", "CI=true", "--entrypoint", "/usr/local/bin/imagebuild-action-post", "--network", "host",
		"-v", "/s:/var/run/docker.sock", "-v", "/r/_temp:/github/runner_temp", "-v", "/r/_temp/_github_home:/github/home",
		"-v", "/r/_temp/_github_workflow:/github/workflow", "-v", "/r/_temp/_runner_file_commands:/github/file_commands",
		"-v", "/r/work:/github/workspace", "image:1",
	}
	if diff := cmp.Diff(want, argv); diff != "" {
		t.Error(diff)
	}
	argv = j.Command(Step{Image: "image:1", Args: []string{"build"}}, "name", map[string]string{"CI": "yes"})
	if slices.Contains(argv, "CI=true") || slices.Contains(argv, "--entrypoint") || argv[len(argv)-1] != "build" {
		t.Errorf("got %q", argv)
	}
}

func TestParsePairs(t *testing.T) {
	got, err := parsePairs("a=1=2\nb<<END x\none\n\ntwo\nEND x\n\nc=x<<y\nd<<E\nE\n")
	want := map[string]string{"a": "1=2", "b": "one\n\ntwo", "c": "x<<y", "d": ""}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, bad := range []string{"a<<END\nmore\n", "nonsense\n", "a<<\nx\n"} {
		if pairs, err := parsePairs(bad); err == nil {
			t.Errorf("%q gives %v", bad, pairs)
		}
	}
	if pairs, err := parsePairs(""); len(pairs) > 0 || err != nil {
		t.Error(pairs, err)
	}
}

func TestArgument(t *testing.T) {
	if got := argument(t, "ARG X=1\nARG BASE_IMAGE=debian:trixie-slim\nFROM ${X}\n", "BASE_IMAGE"); got != "debian:trixie-slim" {
		t.Error(got)
	}
}

func TestLog(t *testing.T) {
	log := &Log{}
	_, _ = log.Write([]byte("ready\n"))
	log.Await(t, "ready", 0)
	if !strings.HasPrefix(log.String(), "ready") {
		t.Error(log)
	}
}
