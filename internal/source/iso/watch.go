package iso

import (
	"context"
	"fmt"
	"image"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guestweb"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/vm"
)

const (
	watchInterval = 2 * time.Second
	minInterval   = 10 * time.Millisecond
	// defaultAskAfter is how long a line that looks like a question must stand
	// there, with nothing else going on, before it is one.
	defaultAskAfter = 20 * time.Second
	screenLook      = 20 * time.Second // a silent machine's screen is looked at so often
	tailLines       = 15
	maxLine         = 2 << 10 // bytes; the rest of a longer line begins a new one
	maxReads        = 40      // requests that are told
)

// watch listens to the serial console and the web server. It implements
// io.Writer, to which the guest writes what it likes.
type watch struct {
	task     report.Task
	askAfter time.Duration

	mu    sync.Mutex
	line  []byte // the one that has not ended
	lines []string
	last  string // the newest text, ended or not

	moved  time.Time // when there was a sign of life
	phase  int       // index of the last phase that was told, from 1
	reads  int
	gotten bool
}

func newWatch(task report.Task, askAfter time.Duration) *watch {
	return &watch{task: task, askAfter: askAfter, moved: time.Now()}
}

// Write implements io.Writer.
func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = time.Now()
	for _, b := range p {
		if b == '\n' || len(w.line) == maxLine {
			w.endLine()
		}
		if b != '\n' {
			w.line = append(w.line, b)
		}
	}
	if text := clean(w.line); text != "" {
		w.last = text
	}
	return len(p), nil
}

func (w *watch) endLine() {
	text := clean(w.line)
	w.line = w.line[:0]
	if text == "" {
		return
	}
	w.last = text
	if len(w.lines) == tailLines {
		w.lines = append(w.lines[:0], w.lines[1:]...)
	}
	w.lines = append(w.lines, text)
	w.task.Line(text)
	for i := w.phase; i < len(phases); i++ {
		if phases[i].mark.MatchString(text) {
			w.phase = i + 1
			w.task.Note("%s", phases[i].what)
			break
		}
	}
}

// end takes the last line, which may not have been ended.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endLine()
}

// clean is a line without what moves a terminal's cursor. After a carriage
// return the line is written anew.
func clean(line []byte) string {
	text := strings.TrimRight(ansi.Strip(strings.ToValidUTF8(string(line), "�")), "\r \t")
	if i := strings.LastIndexByte(text, '\r'); i >= 0 {
		text = text[i+1:]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text))
}

// read takes a request of the guest's to the web server.
func (w *watch) read(r guestweb.Read) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = time.Now()
	w.gotten = w.gotten || r.Status == 200
	if w.reads++; w.reads <= maxReads {
		w.task.Note("the installer reads %s (%s, %d)", guestweb.URL(r.Path), r.Method, r.Status)
	}
}

func (w *watch) served() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gotten
}

// tail is the last lines, indented for a message.
func (w *watch) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	if text := clean(w.line); text != "" {
		lines = append(lines[:len(lines):len(lines)], text)
	}
	if len(lines) == 0 {
		return "(it said nothing)"
	}
	return strings.Join(lines, "\n    ")
}

// state is the newest text and the time of the last sign of life.
func (w *watch) state() (last string, moved time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.moved
}

func (w *watch) sign() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = time.Now()
}

// alive returns an error when the installer asks a question, or when it gives
// no sign of life any more. It ends with ctx and with the machine.
func (w *watch) alive(ctx context.Context, machine *vm.Machine, scratch string, silence time.Duration) error {
	ctx, cancel := machine.Context(ctx)
	defer cancel()
	ticker := time.NewTicker(max(min(watchInterval, silence/2, w.askAfter/2), minInterval))
	defer ticker.Stop()
	var disk int64
	var screen image.Image
	looked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, err := machine.DiskActivity(ctx)
		if err != nil {
			continue // the machine's own end says more
		}
		if now != disk {
			disk = now
			w.sign()
		}
		last, moved := w.state()
		quiet := time.Since(moved)
		if quiet > w.askAfter {
			if question, asks := asksFor(last); asks {
				return fault.Errorf(fault.Guest, "the installer asks and waits (%s): %q; answer it in the file, or see what it lacks", question, last)
			}
		}
		if quiet > min(screenLook, silence/2) && time.Since(looked) > min(screenLook, silence/4) {
			looked = time.Now()
			picture, err := machine.Screen(ctx, scratch)
			if err == nil && screen != nil && !vm.SameScreen(picture, screen) {
				w.sign()
			}
			if err == nil {
				screen = picture
			}
		}
		if quiet > silence {
			return fault.Wrap(fault.Guest, fmt.Errorf("no sign of life for %s: no text, the same screen, no disk activity; raise silence if that is as it should be", silence))
		}
	}
}
