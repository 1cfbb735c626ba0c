package provision

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

const (
	// tailLines is how many lines a failing step quotes.
	tailLines = 20
	// maxShownBytes is how much of one step's output is shown as it comes.
	// After that only the end is kept: a step that prints for ever must fill
	// neither the memory nor the log.
	maxShownBytes = 4 << 20
	maxShownLines = 50_000
	// noticeBytes is how much unseen output passes between two notices.
	noticeBytes = 256 << 20
	// maxShownLine is where a single line is cut off.
	maxShownLine = 4 << 10
)

// output passes a step's lines on and keeps the last of them.
type output struct {
	task  report.Task
	lines io.WriteCloser

	mu     sync.Mutex
	hidden bool // more came than is shown
	bytes  int64
	notice int64 // where the next notice is due
	tail   [tailLines]string
	count  int
}

func newOutput(task report.Task) *output {
	o := &output{task: task}
	o.lines = run.LineWriter(o.line)
	return o
}

// Write implements io.Writer and never fails.
func (o *output) Write(p []byte) (int, error) { return o.lines.Write(p) }

// Close shows the last line if it had no newline, and what was left out.
func (o *output) Close() {
	_ = o.lines.Close() // only flushes
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hidden {
		return
	}
	o.task.Note("the step printed %s; these are its last lines", size.Bytes(o.bytes).Human())
	for _, line := range o.last() {
		o.task.Line(line)
	}
}

// Tail returns the last lines.
func (o *output) Tail() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last()
}

func (o *output) line(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes += int64(len(text)) + 1
	if len(text) > maxShownLine {
		text = fmt.Sprintf("%s ... (%d more bytes)", text[:maxShownLine], len(text)-maxShownLine)
	}
	o.tail[o.count%tailLines] = text
	o.count++
	o.hidden = o.hidden || o.bytes > maxShownBytes || o.count > maxShownLines
	switch {
	case !o.hidden:
		o.task.Line(text)
	case o.bytes >= o.notice:
		o.task.Note("%s of output so far; it goes on unseen, and only its end is kept", size.Bytes(o.bytes).Human())
		o.notice = o.bytes + noticeBytes
	}
}

func (o *output) last() []string {
	n := min(o.count, tailLines)
	lines := make([]string, 0, n)
	for i := o.count - n; i < o.count; i++ {
		lines = append(lines, o.tail[i%tailLines])
	}
	return lines
}

// cleanupLimit bounds what is done after a step, whatever became of it.
const cleanupLimit = 30 * time.Second
