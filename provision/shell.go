package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/template"
)

// MaxScriptBytes is the largest script that is taken.
const MaxScriptBytes = 64 << 20

// scriptDir is where scripts lie in the guest while they run. The name is
// fixed, because some programs write the path of their script into files.
const scriptDir = "/tmp/imagebuild-step"

// defaultInterpreter stops at the first failing command and at a misspelt
// variable, as a build should.
const defaultInterpreter = "/bin/sh -eu"

// Shell runs a script in the guest. As a bare scalar it is a script file if
// the text looks like a relative path (one word with a "/" in it, or ending in
// .sh, .bash, .py, .pl or .rb), and the script itself otherwise.
type Shell struct {
	Inline      string   `yaml:"inline" doc:"The script itself."`
	Script      string   `yaml:"script" doc:"A script file, relative to the template."`
	Args        []string `yaml:"args" doc:"Arguments of the script."`
	Interpreter string   `yaml:"interpreter" doc:"Program that reads the script, with its options. Default: the script's #! line, or else /bin/sh -eu."`

	scalar bool
}

// FromScalar implements template.Scalar.
func (s *Shell) FromScalar(text string) {
	s.scalar = true
	if looksLikePath(text) {
		s.Script = text
		return
	}
	s.Inline = text
}

func looksLikePath(text string) bool {
	if text == "" || strings.HasPrefix(text, "/") || strings.ContainsAny(text, " \t\r\n|&;<>()$`\\\"'*?[#~=%!{}") {
		return false
	}
	return strings.Contains(text, "/") || slices.Contains([]string{".sh", ".bash", ".py", ".pl", ".rb"}, path.Ext(text))
}

// Validate implements template.Validator.
func (s *Shell) Validate(faults template.Faults) {
	switch {
	case s.Inline != "" && s.Script != "":
		faults.Add("", "has both inline and script; keep one of them")
	case s.Script == "" && strings.TrimSpace(s.Inline) == "":
		faults.Add("", "has no script; write it under inline, or name its file under script")
	}
	if s.Interpreter != "" && !path.IsAbs(strings.TrimSpace(s.Interpreter)) {
		faults.Add("interpreter", "%q is not an absolute path in the image, like /bin/bash or /usr/bin/env python3", s.Interpreter)
	}
}

// Files implements template.FileNamer.
func (s *Shell) Files() []template.FileRef {
	if s.Script == "" {
		return nil
	}
	field := "script"
	if s.scalar {
		field = ""
	}
	return []template.FileRef{{Field: field, Path: s.Script}}
}

// String names the script.
func (s *Shell) String() string {
	if s.Script != "" {
		return "shell " + s.Script
	}
	first, rest, _ := strings.Cut(strings.TrimSpace(s.Inline), "\n")
	if r := []rune(first); len(r) > 60 {
		first = string(r[:60]) + "..."
	} else if rest != "" {
		first += " ..."
	}
	return "shell: " + first
}

// Check implements Provisioner.
func (s *Shell) Check(_ context.Context, job Job) error {
	if s.scalar && s.Inline != "" && !strings.Contains(s.Inline, "\n") {
		if info, err := os.Stat(job.Abs(s.Inline)); err == nil && info.Mode().IsRegular() {
			return fault.Errorf(fault.Input, "%q is the name of a file, but would run as a command; write shell: {script: %q}", s.Inline, s.Inline)
		}
	}
	_, _, err := s.load(job)
	return err
}

// Apply implements Provisioner.
func (s *Shell) Apply(ctx context.Context, g guest.Guest, job Job) (err error) {
	content, argv, err := s.load(job)
	if err != nil {
		return err
	}
	name := path.Join(scriptDir, "script")
	if s.Script != "" {
		name = path.Join(scriptDir, filepath.Base(s.Script))
	}
	defer func() { err = errors.Join(err, removeAll(ctx, g, scriptDir)) }()
	if err := g.Put(ctx, guest.File{Path: name, Mode: 0o755}, bytes.NewReader(content)); err != nil {
		return err
	}
	run := slices.Concat(argv, []string{name}, s.Args)
	err = g.Run(ctx, guest.Command{Argv: run, Env: job.Env, Stdout: job.Output, Stderr: job.Output})
	return s.explain(ctx, g, argv, err)
}

// explain puts a failing script's name and status in place of a long command,
// and finds out whether there is an interpreter at all.
func (s *Shell) explain(ctx context.Context, g guest.Guest, argv []string, err error) error {
	var exit *guest.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if len(argv) > 0 && (exit.Status == 126 || exit.Status == 127) {
		probe := g.Run(ctx, guest.Command{Argv: []string{"/bin/sh", "-c", `test -x "$1"`, "sh", argv[0]}})
		if missing := (*guest.ExitError)(nil); errors.As(probe, &missing) && missing.Status == 1 {
			return fault.Errorf(fault.Guest, "the interpreter %s is not in the image; install it in an earlier step, or add its package to the source", argv[0])
		}
	}
	if exit.Signal != "" {
		return fmt.Errorf("ended by signal %s", exit.Signal)
	}
	return fmt.Errorf("exit status %d", exit.Status)
}

// load reads the script and decides what runs it; no words mean the script
// itself, a binary.
func (s *Shell) load(job Job) (content []byte, argv []string, err error) {
	name := "the inline script"
	content = []byte(s.Inline)
	if s.Script != "" {
		name = s.Script
		if content, err = readLimited(job.Abs(s.Script)); err != nil {
			return nil, nil, err
		}
	}
	if bytes.HasPrefix(content, []byte("\x7fELF")) {
		return content, strings.Fields(s.Interpreter), nil
	}
	if hasCRLF(content) {
		return nil, nil, fault.Errorf(fault.Input,
			"%s has Windows line endings (CRLF), which the image's programs cannot read; convert it with: sed -i 's/\\r$//' %s", name, s.Script)
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // in front of #! it would hide it
	shebang, found := bytes.CutPrefix(content, []byte("#!"))
	switch {
	case s.Interpreter != "":
		return content, strings.Fields(s.Interpreter), nil
	case found:
		line, _, _ := bytes.Cut(shebang, []byte("\n"))
		program, option, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if !path.IsAbs(program) {
			return nil, nil, fault.Errorf(fault.Input, "%s: its #! line names %q; name the interpreter by its absolute path", name, program)
		}
		// The kernel passes everything after the program as one argument.
		if option = strings.TrimSpace(option); option != "" {
			return content, []string{program, option}, nil
		}
		return content, []string{program}, nil
	case !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0:
		return nil, nil, fault.Errorf(fault.Input, "%s is neither text, nor a script with a #! line, nor an ELF program", name)
	}
	return content, strings.Fields(defaultInterpreter), nil
}

// hasCRLF looks at the first lines: a CR elsewhere may be meant.
func hasCRLF(content []byte) bool {
	head := content[:min(len(content), 64<<10)]
	return bytes.Contains(head, []byte("\r\n"))
}

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxScriptBytes+1))
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	if len(data) > MaxScriptBytes {
		return nil, fault.Errorf(fault.Input, "%s is larger than 64 MiB; put it into the image with a file step and run it from there", name)
	}
	return data, nil
}

// removeAll takes a temporary path out of the guest, after a cancellation too.
func removeAll(ctx context.Context, g guest.Guest, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	if err := g.Run(ctx, guest.Command{Argv: []string{"rm", "-rf", "--", name}}); err != nil {
		return fmt.Errorf("remove %s from the image: %w", name, err)
	}
	return nil
}
