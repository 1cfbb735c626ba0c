package action

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/charmbracelet/x/ansi"
	"github.com/sethvargo/go-githubactions"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
)

// The runner shows at most ten annotations of a kind for a step, and cuts a
// message (docs.github.com, "Workflow commands for GitHub Actions").
const (
	maxAnnotations     = 10
	maxAnnotationBytes = 4096
)

// console writes the job's log. The runner obeys "::command::" at the start of
// a line and "##[command]" anywhere in one, whoever printed it. So before any
// other text commands are stopped with a token that nobody can know, and they
// are resumed only to write one of ours.
type console struct {
	secrets *redact.Set

	mu     sync.Mutex
	w      io.Writer
	token  string         // that resumes commands; empty while they are on
	counts map[string]int // annotations so far, by kind
}

func newConsole(w io.Writer, secrets *redact.Set) *console {
	return &console{w: w, secrets: secrets, counts: map[string]int{}}
}

// line writes one line of text that anybody may have written.
func (c *console) line(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
	_, _ = io.WriteString(c.w, c.clean(fmt.Sprintf(format, args...))+"\n")
}

// clean leaves one line of plain text. The broken-up "##[" is for the viewer
// of the log, which styles such lines even where the runner ignores them.
func (c *console) clean(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r < 0x20, r == 0x7f, 0x80 <= r && r < 0xa0:
			return -1
		}
		return r
	}, ansi.Strip(c.secrets.String(text)))
	text = strings.ReplaceAll(text, "##[", "## [")
	if strings.HasPrefix(strings.TrimSpace(text), "::") {
		text = "| " + text
	}
	return text
}

// stop switches commands off. The caller holds mu.
func (c *console) stop() {
	if c.token != "" {
		return
	}
	c.token = randomToken()
	_, _ = io.WriteString(c.w, command("stop-commands", nil, c.token))
}

// resume switches commands on again.
func (c *console) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start()
}

func (c *console) start() {
	if c.token == "" {
		return
	}
	_, _ = io.WriteString(c.w, "::"+c.token+"::\n")
	c.token = ""
}

// issue writes a command of ours.
func (c *console) issue(name string, properties map[string]string, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start() // line stops them again
	_, _ = io.WriteString(c.w, command(name, properties, message))
}

// command renders a workflow command, with the escapes that the runner undoes.
func command(name string, properties map[string]string, message string) string {
	return (&githubactions.Command{Name: name, Properties: properties, Message: message}).String() + "\n"
}

// randomToken names a stop, or delimits a value.
func randomToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return "imagebuild-" + hex.EncodeToString(b[:])
}

// mask hides a value in everything that the job prints from now on.
func (c *console) mask(value string) {
	for line := range strings.Lines(value) {
		if line = strings.TrimSpace(line); len(line) >= redact.MinLength {
			c.issue("add-mask", nil, line)
		}
	}
}

// annotate marks a place in the workflow's or the template's file, or the job
// as a whole. Above the runner's limit the text is still in the log.
func (c *console) annotate(kind string, at fault.Position, message string) {
	message = c.secrets.String(message)
	c.mu.Lock()
	c.counts[kind]++
	over := c.counts[kind] > maxAnnotations
	c.mu.Unlock()
	if over {
		c.line("%s: %s: %s", kind, at, message)
		return
	}
	properties := map[string]string{"title": "imagebuild"}
	if at.File != "" {
		properties["file"] = at.File
		if at.Line > 0 {
			properties["line"] = strconv.Itoa(at.Line)
		}
		if at.Column > 0 {
			properties["col"] = strconv.Itoa(at.Column)
		}
	}
	c.issue(kind, properties, cut(message, maxAnnotationBytes))
}

// explain turns an error into annotations: one for each fault of a template,
// on its line, otherwise one that says whose problem it is.
func (c *console) explain(err error, workspace string) {
	var list fault.List
	if !errors.As(err, &list) {
		c.annotate("error", fault.Position{}, err.Error())
		if fault.KindOf(err) == fault.Bug {
			c.line("This is a mistake in imagebuild itself; please report it with the log above.")
		}
		return
	}
	for i, l := range list {
		at := l.Position
		if relative, err := filepath.Rel(workspace, at.File); err == nil && filepath.IsAbs(at.File) && filepath.IsLocal(relative) {
			at.File = relative
		}
		message := l.Message
		if at.Field != "" {
			message = at.Field + ": " + message
		}
		if i == maxAnnotations-1 && len(list) > maxAnnotations {
			message += fmt.Sprintf(" (and %d more faults; the log lists all of them)", len(list)-maxAnnotations)
		}
		c.annotate("error", at, message)
	}
}

// cut shortens text to at most n bytes, between characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	const ellipsis = "…"
	return strings.ToValidUTF8(text[:n-len(ellipsis)], "") + ellipsis
}
