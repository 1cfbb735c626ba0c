package report

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/size"
)

// Live returns a Reporter for a terminal: what has happened scrolls, what is
// happening stays at the bottom with its bytes and its time. Call stop before
// anything else writes to the terminal.
func Live(w io.Writer, secrets *redact.Set, colour bool) (r Reporter, stop func()) {
	progress := mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh(), mpb.WithRefreshRate(120*time.Millisecond))
	s := &screen{sink: sink{w: progress, secrets: secrets}, progress: progress, colour: colour, open: map[*mpb.Bar]bool{}}
	return &live{screen: s}, s.stop
}

// screen is what all tasks of one terminal share.
type screen struct {
	sink
	progress *mpb.Progress
	colour   bool
	open     map[*mpb.Bar]bool // guarded by sink.mu
	stopped  sync.Once
}

// stop shows what is still to be shown; tasks left open just vanish.
func (s *screen) stop() {
	s.stopped.Do(func() {
		s.mu.Lock()
		for bar := range s.open {
			bar.Abort(true)
		}
		s.mu.Unlock()
		s.progress.Wait()
	})
}

type live struct {
	*screen
	name  string
	start time.Time
	bar   *mpb.Bar
	done  atomic.Int64
	total atomic.Int64
}

func (l *live) Begin(name string) Task {
	child := &live{screen: l.screen, name: name, start: time.Now()}
	if l.name != "" {
		child.name = l.name + ": " + name
	}
	bar, err := l.progress.Add(0, nil, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Any(child.status)))
	if err == nil { // after stop the task only scrolls
		child.bar = bar
		l.mu.Lock()
		l.open[bar] = true
		l.mu.Unlock()
	}
	return child
}

var spinner = [...]string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

func (l *live) status(decor.Statistics) string {
	elapsed := time.Since(l.start)
	frame := spinner[int(elapsed/(120*time.Millisecond))%len(spinner)]
	text := fmt.Sprintf("%s %s", l.paint("36", frame), l.clean(l.name))
	done, total := l.done.Load(), l.total.Load()
	switch {
	case total > 0:
		text += fmt.Sprintf("  %s / %s  %d%%", size.Bytes(done).Human(), size.Bytes(total).Human(), 100*done/total)
	case done > 0:
		text += "  " + size.Bytes(done).Human()
	}
	return text + "  " + elapsed.Truncate(time.Second).String()
}

func (l *live) Progress(done, total int64) {
	l.done.Store(done)
	l.total.Store(total)
}

func (l *live) Line(text string) {
	l.scroll("  %s %s", l.paint("2", innermost(l.name)+" │"), l.clean(text))
}

func (l *live) Note(format string, args ...any) {
	l.scroll("  %s %s", l.paint("34", "•"), l.clean(fmt.Sprintf(format, args...)))
}

func (l *live) Warn(format string, args ...any) {
	l.scroll("  %s %s", l.paint("33", "warning:"), l.clean(fmt.Sprintf(format, args...)))
}

func (l *live) End(err error) {
	if l.bar != nil {
		l.bar.SetTotal(-1, true)
		l.mu.Lock()
		delete(l.open, l.bar)
		l.mu.Unlock()
	}
	took := time.Since(l.start).Round(100 * time.Millisecond)
	if err != nil {
		l.scroll("%s %s  %s", l.paint("31", "✗"), l.clean(l.name), took)
		return
	}
	l.scroll("%s %s  %s", l.paint("32", "✓"), l.clean(l.name), took)
}

// scroll writes a line above the live part. Its parts are clean already.
func (l *live) scroll(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.w, format+"\n", args...)
}

func (l *live) paint(code, text string) string {
	if !l.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
