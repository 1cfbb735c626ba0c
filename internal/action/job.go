package action

import (
	"github.com/sethvargo/go-githubactions"

	"github.com/org/imagebuild-action/internal/container"
	"github.com/org/imagebuild-action/internal/redact"
)

// job is one stage of the action in one job.
type job struct {
	Process
	actions   *githubactions.Action
	secrets   *redact.Set
	console   *console
	workspace string // where the repository is checked out
	grant     container.Grant
	// unfinished says that the post stage has to go on with the clean-up.
	unfinished bool
}

func newJob(p Process) *job {
	j := &job{Process: p, secrets: &redact.Set{}}
	j.actions = githubactions.New(githubactions.WithWriter(p.Stdout), githubactions.WithGetenv(j.getenv))
	j.console = newConsole(p.Stdout, j.secrets)
	if j.workspace = j.getenv("GITHUB_WORKSPACE"); j.workspace == "" {
		j.workspace = "."
	}
	return j
}

func (j *job) getenv(name string) string {
	value, _ := j.LookupEnv(name)
	return value
}
