package action

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
)

// runner obeys a log as the runner does (actions/runner,
// ActionCommandManager.TryProcessCommand): "::name props::message" at the
// start of a line and "##[name props]message" anywhere in it, unless commands
// are stopped; then only the token counts. It returns the commands that it
// obeyed, and the lines that a person sees.
func runner(t *testing.T, log string) (obeyed, shown []string) {
	t.Helper()
	stopped := ""
	scanner := bufio.NewScanner(strings.NewReader(log))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		name, message, isCommand := parseCommand(line)
		switch {
		case !isCommand:
			shown = append(shown, line)
		case stopped != "":
			if name == stopped {
				stopped = ""
			} else {
				shown = append(shown, line)
			}
		case name == "stop-commands":
			stopped = message
		default:
			obeyed = append(obeyed, strings.TrimSuffix(name+" "+message, " "))
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatalf("a line is too long for a log: %v", err)
	}
	return obeyed, shown
}

func parseCommand(line string) (name, message string, ok bool) {
	if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "::") {
		head, message, found := strings.Cut(trimmed[2:], "::")
		if name, _, _ := strings.Cut(head, " "); found && name != "" {
			return name, message, true
		}
	}
	if _, rest, found := strings.Cut(line, "##["); found {
		if head, message, found := strings.Cut(rest, "]"); found {
			name, _, _ := strings.Cut(head, " ")
			return name, message, true
		}
	}
	return "", "", false
}

// hostile is what a provisioner may print.
var hostile = []string{
	"::set-output name=digests::evil", "::add-mask::a", "  ::error file=x::lies", "\t::endgroup::",
	"##[error]lies", "text ##[group]lies", "##[add-mask]a", "::stop-commands::x", "::x::",
	"\x1b[31m::warning::lies", "\r::notice::lies", "::save-state name=x::y", "a\u2028::debug::lies",
}

func TestGuestOutputDrivesNothing(t *testing.T) {
	var log strings.Builder
	c := newConsole(&log, &redact.Set{})
	err := report.Do(reporter{c}, "provision", func(task report.Task) error {
		return report.Do(task, "step ::error::x", func(task report.Task) error {
			for _, line := range hostile {
				task.Line(line)
				task.Note("%s", line)
			}
			w := run.LineWriter(task.Line)
			for range 10 << 10 {
				fmt.Fprint(w, strings.Repeat("::", 512)) // 10 MB without a newline
			}
			return w.Close()
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	c.resume()
	obeyed, shown := runner(t, log.String())
	if got := strings.Join(obeyed, "|"); got != "group provision|endgroup" {
		t.Errorf("the runner obeyed %q", got)
	}
	for _, line := range shown {
		if strings.Contains(line, "##[") {
			t.Errorf("the log's viewer would style %q", line)
		}
		if len(line) > 2*run.MaxLine {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if len(shown) < len(hostile) {
		t.Errorf("only %d lines are shown: nothing that a guest prints may vanish", len(shown))
	}
}

// TestTokensAreNotReused: whoever has read one part of a log cannot resume
// commands in a later one.
func TestTokensAreNotReused(t *testing.T) {
	var log strings.Builder
	c := newConsole(&log, &redact.Set{})
	for range 50 {
		c.line("text")
		c.issue("debug", nil, "x")
	}
	seen := map[string]bool{}
	for line := range strings.Lines(log.String()) {
		if token, ok := strings.CutPrefix(strings.TrimSpace(line), "::stop-commands::"); ok {
			if seen[token] || len(token) < 32 {
				t.Fatalf("token %q", token)
			}
			seen[token] = true
		}
	}
	if len(seen) < 50 {
		t.Errorf("%d tokens", len(seen))
	}
}

func TestExplain(t *testing.T) {
	var list fault.List
	for i := range 13 {
		list.Add(fault.Position{File: "/github/workspace/images/web.yml", Line: 13 - i, Column: 3, Field: "provision[0]"}, "fault %d", i)
	}
	secrets := &redact.Set{}
	if err := secrets.Add("hunter22"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		err  error
		want []string // of the first and the last
		n    int
	}{
		{"faults of a template", list.Err(), []string{
			"::error col=3,file=images/web.yml,line=1,title=imagebuild::provision[0]: fault 12",
			"::error col=3,file=images/web.yml,line=10,title=imagebuild::provision[0]: fault 3 (and 3 more faults; the log lists all of them)",
		}, 10},
		{"another error", fault.Errorf(fault.Remote, "get: 503\nsecret hunter22"), []string{"::error title=imagebuild::get: 503%0Asecret ***"}, 1},
		{"a long error", errors.New(strings.Repeat("ä", 4000)), nil, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			newConsole(&log, secrets).explain(tt.err, "/github/workspace")
			var got []string
			for line := range strings.Lines(log.String()) {
				if strings.HasPrefix(line, "::error") {
					got = append(got, strings.TrimSpace(line))
				}
			}
			if len(got) != tt.n {
				t.Fatalf("%d annotations, want %d:\n%s", len(got), tt.n, log.String())
			}
			for i, want := range tt.want {
				if line := got[i*(len(got)-1)]; line != want {
					t.Errorf("got %s\nwant %s", line, want)
				}
			}
			if len(got[0]) > maxAnnotationBytes+100 {
				t.Errorf("%d bytes", len(got[0]))
			}
		})
	}
}
