package action

import (
	"fmt"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
)

// reporter shows a build in the job's log: a group for each stage, which the
// viewer folds, and one line below it with what it took. Groups cannot be
// nested, so everything inside a stage is lines that carry their task's name.
type reporter struct{ console *console }

// Begin implements report.Reporter.
func (r reporter) Begin(name string) report.Task {
	r.console.issue("group", nil, r.console.clean(name))
	return &task{console: r.console, name: name, start: time.Now()}
}

type task struct {
	console *console
	name    string // with the names of the tasks around it
	inner   bool   // it is not a stage
	start   time.Time
}

// Begin implements report.Reporter.
func (t *task) Begin(name string) report.Task {
	child := &task{console: t.console, name: name, inner: true, start: time.Now()}
	if t.inner {
		child.name = t.name + ": " + name
	}
	t.console.line("==> %s", child.name)
	return child
}

// Progress implements report.Task. A log has no use for it.
func (t *task) Progress(int64, int64) {}

// Line implements report.Task.
func (t *task) Line(text string) {
	name := strings.TrimSpace(t.name[strings.LastIndex(t.name, ": ")+1:])
	t.console.line("    %s | %s", name, text)
}

// Note implements report.Task.
func (t *task) Note(format string, args ...any) {
	t.console.line("    %s: %s", t.name, fmt.Sprintf(format, args...))
}

// Warn implements report.Task.
func (t *task) Warn(format string, args ...any) {
	t.console.annotate("warning", fault.Position{}, t.name+": "+fmt.Sprintf(format, args...))
}

// End implements report.Task.
func (t *task) End(err error) {
	how := "done in"
	if err != nil {
		how = "failed after"
	}
	took := time.Since(t.start).Round(100 * time.Millisecond)
	if t.inner {
		t.console.line("<== %s: %s %s", t.name, how, took)
		return
	}
	t.console.issue("endgroup", nil, "")
	t.console.line("%s: %s %s", t.name, how, took)
}
