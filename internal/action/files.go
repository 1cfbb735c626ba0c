package action

import (
	"fmt"
	"os"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// The runner drops a summary above 1 MiB, with an error.
const maxSummaryBytes = 1 << 20

// setValue appends a value to one of the runner's files: GITHUB_OUTPUT or
// GITHUB_STATE. The delimiter is random, because what a guest printed may be
// part of the value and must not end it (docs.github.com, "Workflow commands",
// multiline strings). Without such a file nothing is written.
func (j *job) setValue(file, name, value string) error {
	delimiter := randomToken()
	return j.appendFile(file, fmt.Sprintf("%s<<%s\n%s\n%s\n", name, delimiter, value, delimiter))
}

// addSummary shows Markdown on the run's page.
func (j *job) addSummary(markdown string) error {
	markdown = j.console.secrets.String(markdown)
	if len(markdown) > maxSummaryBytes/2 {
		markdown = cut(markdown, maxSummaryBytes/2)
	}
	return j.appendFile("GITHUB_STEP_SUMMARY", markdown)
}

func (j *job) appendFile(variable, text string) error {
	path, ok := j.LookupEnv(variable)
	if !ok || path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fault.Wrap(fault.Environment, fmt.Errorf("%s: %w", variable, err))
	}
	if _, err := f.WriteString(text); err != nil {
		_ = f.Close()
		return run.Explain(err)
	}
	return run.Explain(f.Close())
}

// state returns what an earlier stage of this action has saved.
func (j *job) state(name string) string {
	value, _ := j.LookupEnv("STATE_" + name)
	return strings.TrimSpace(value)
}
