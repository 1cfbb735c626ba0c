package failure

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
)

// The bounds of what is remembered. Only what is running, and what has failed,
// has a log.
const (
	headBytes  = 128 << 10 // of a log's beginning
	tailBytes  = 896 << 10 // and of its end
	maxLogs    = 16
	maxTimings = 4096
)

// Recorder is a report.Reporter that passes everything on and remembers what a
// failure is explained by. It is safe for concurrent use.
type Recorder struct {
	to report.Reporter

	mu      sync.Mutex
	timings []*Timing
	failed  []*log
}

// Timing is how long a part of the build took.
type Timing struct {
	Task    string  `json:"task"`    // with the tasks around it, as in "provision: Install tools"
	Seconds float64 `json:"seconds"` // so far, if it has not ended
	Failed  bool    `json:"failed,omitempty"`
	Running bool    `json:"running,omitempty"` // when the failure was written down

	start time.Time
}

// Record starts to remember what is reported to to.
func Record(to report.Reporter) *Recorder { return &Recorder{to: to} }

// Begin implements report.Reporter.
func (r *Recorder) Begin(name string) report.Task { return r.begin(r.to, "", name) }

func (r *Recorder) begin(to report.Reporter, parent, name string) report.Task {
	path := name
	if parent != "" {
		path = parent + ": " + name
	}
	t := &task{Task: to.Begin(name), recorder: r, timing: &Timing{Task: path, Running: true, start: time.Now()}, log: &log{task: path, name: name}}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.timings) < maxTimings {
		r.timings = append(r.timings, t.timing)
	}
	return t
}

// Timings lists every task so far, in the order in which they began.
func (r *Recorder) Timings() []Timing {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Timing, len(r.timings))
	for i, t := range r.timings {
		if all[i] = *t; t.Running {
			all[i].Seconds = seconds(t.start)
		}
	}
	return all
}

func seconds(start time.Time) float64 { return float64(time.Since(start).Milliseconds()) / 1000 }

// writeLogs writes the logs of what failed, in the order of the failures.
func (r *Recorder) writeLogs(dir string, secrets *redact.Set) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, l := range r.failed {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return run.Explain(err)
		}
		name := fmt.Sprintf("%02d-%s.log", i+1, slug(l.name))
		if err := place(filepath.Join(dir, name), []byte(secrets.String(l.String()))); err != nil {
			return err
		}
	}
	return nil
}

// slug makes a file name of any text: letters, digits and dashes.
func slug(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case b.Len() >= 60:
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if name := strings.Trim(b.String(), "-"); name != "" {
		return name
	}
	return "task"
}

// task is a report.Task that is remembered.
type task struct {
	report.Task
	recorder *Recorder
	timing   *Timing
	log      *log
}

func (t *task) Begin(name string) report.Task {
	return t.recorder.begin(t.Task, t.timing.Task, name)
}

func (t *task) Line(text string) {
	t.Task.Line(text)
	t.log.add(text)
}

func (t *task) Note(format string, args ...any) {
	t.Task.Note(format, args...)
	t.log.add("note: " + fmt.Sprintf(format, args...))
}

func (t *task) Warn(format string, args ...any) {
	t.Task.Warn(format, args...)
	t.log.add("warning: " + fmt.Sprintf(format, args...))
}

func (t *task) End(err error) {
	t.Task.End(err)
	t.recorder.mu.Lock()
	defer t.recorder.mu.Unlock()
	t.timing.Seconds, t.timing.Running, t.timing.Failed = seconds(t.timing.start), false, err != nil
	if err != nil && len(t.recorder.failed) < maxLogs && t.log.lines > 0 {
		t.recorder.failed = append(t.recorder.failed, t.log)
	}
	t.log.stop(err)
}

// log is the beginning and the end of what a task printed.
type log struct {
	task, name string

	mu      sync.Mutex
	head    []byte
	tail    []byte
	lines   int
	dropped int64
	ended   bool
	err     error
}

func (l *log) add(text string) {
	line := run.Printable(text) + "\n"
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.lines++
	if len(l.tail) == 0 && len(l.head)+len(line) <= headBytes {
		l.head = append(l.head, line...)
		return
	}
	if l.tail = append(l.tail, line...); len(l.tail) < 2*tailBytes {
		return
	}
	over := len(l.tail) - tailBytes
	l.dropped += int64(over)
	l.tail = append(l.tail[:0], l.tail[over:]...)
}

// stop ends the log; that of a success is forgotten.
func (l *log) stop(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended, l.err = true, err; err == nil {
		l.head, l.tail = nil, nil
	}
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	tail, dropped := l.tail, l.dropped
	if over := len(tail) - tailBytes; over > 0 {
		tail, dropped = tail[over:], dropped+int64(over)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s", run.Printable(l.task), l.head)
	if dropped > 0 {
		fmt.Fprintf(&b, "\n[%d bytes are left out here]\n\n", dropped)
	}
	b.Write(tail)
	if l.err != nil {
		fmt.Fprintf(&b, "\nfailed: %s\n", run.Printable(l.err.Error()))
	}
	return b.String()
}
