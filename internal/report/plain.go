package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/org/imagebuild-action/internal/redact"
)

// Plain returns a Reporter for logs: one line per event, no colour, no cursor
// movement. Sensitive values are masked and control characters removed.
func Plain(w io.Writer, secrets *redact.Set) Reporter {
	return &plain{sink: &sink{w: w, secrets: secrets}}
}

type sink struct {
	mu      sync.Mutex
	w       io.Writer
	secrets *redact.Set
}

func (s *sink) line(format string, args ...any) {
	text := s.clean(fmt.Sprintf(format, args...))
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.w, text+"\n")
}

// clean makes untrusted text safe for a terminal and for a log.
func (s *sink) clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < 0x20, r == 0x7f, 0x80 <= r && r < 0xa0:
			return -1
		}
		return r
	}, ansi.Strip(s.secrets.String(text)))
}

type plain struct {
	sink  *sink
	name  string
	start time.Time
}

func (p *plain) Begin(name string) Task {
	child := &plain{sink: p.sink, name: name, start: time.Now()}
	if p.name != "" {
		child.name = p.name + ": " + name
	}
	child.sink.line("==> %s", child.name)
	return child
}

func (p *plain) Progress(int64, int64) {}

func (p *plain) Line(text string) { p.sink.line("    %s | %s", innermost(p.name), text) }

func (p *plain) Note(format string, args ...any) {
	p.sink.line("    %s: %s", p.name, fmt.Sprintf(format, args...))
}

func (p *plain) Warn(format string, args ...any) {
	p.sink.line("    %s: warning: %s", p.name, fmt.Sprintf(format, args...))
}

func (p *plain) End(err error) {
	took := time.Since(p.start).Round(100 * time.Millisecond)
	if err != nil {
		p.sink.line("<== %s: failed after %s", p.name, took)
		return
	}
	p.sink.line("<== %s: done in %s", p.name, took)
}

// innermost is the last part of a task's name: output carries the step's name,
// not the whole path to it.
func innermost(name string) string {
	return strings.TrimSpace(name[strings.LastIndex(name, ": ")+1:])
}
