package provision_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/provision"
)

const dir = "../testdata/provision"

func job(env ...string) provision.Job { return provision.Job{Dir: dir, Env: env, Output: io.Discard} }

func TestScalar(t *testing.T) {
	for text, script := range map[string]bool{
		"provision/clean-nic.sh": true, "clean.sh": true, "run.py": true, "./run": true, "sub/ü.sh": true,
		"reboot": false, "/usr/bin/true": false, "bash x.sh": false, "echo a/b": false, "FOO=a/b": false, "a/b && c": false,
		"a.sh\n": false, "echo x\necho y": false, "$HOME/x.sh": false, "a/*.sh": false, "": false,
	} {
		s := &provision.Shell{}
		s.FromScalar(text)
		if got := s.Script != ""; got != script || got == (s.Inline != "") && text != "" {
			t.Errorf("%q: script %q, inline %q", text, s.Script, s.Inline)
		}
		if files := s.Files(); (len(files) == 1) != script {
			t.Errorf("%q: files %v", text, files)
		}
	}
}

type faults []string

func (f *faults) Add(field, format string, _ ...any) { *f = append(*f, field+": "+format) }

func TestValidate(t *testing.T) {
	content := "x"
	check := func(name string, got faults, wrong string) {
		t.Helper()
		if text := strings.Join(got, "; "); (wrong == "") != (text == "") || !strings.Contains(text, wrong) {
			t.Errorf("%s: got %q, want %q", name, text, wrong)
		}
	}
	for name, test := range map[string]struct {
		config provision.Shell
		wrong  string
	}{
		"inline":               {provision.Shell{Inline: "x"}, ""},
		"both":                 {provision.Shell{Inline: "x", Script: "y"}, "both inline and script"},
		"nothing":              {provision.Shell{}, "has no script"},
		"blank":                {provision.Shell{Inline: " \n"}, "has no script"},
		"interpreter":          {provision.Shell{Inline: "x", Interpreter: "/usr/bin/env python3"}, ""},
		"relative interpreter": {provision.Shell{Inline: "x", Interpreter: "python3"}, "absolute path"},
	} {
		var got faults
		test.config.Validate(&got)
		check(name, got, test.wrong)
	}
	for name, test := range map[string]struct {
		config provision.File
		wrong  string
	}{
		"source":            {provision.File{Source: "x", Destination: "/y"}, ""},
		"empty content":     {provision.File{Content: new(string), Destination: "/y"}, ""},
		"both":              {provision.File{Source: "x", Content: &content, Destination: "/y"}, "both source and content"},
		"neither":           {provision.File{Destination: "/y"}, "neither source nor content"},
		"relative":          {provision.File{Source: "x", Destination: "y"}, "absolute path"},
		"content to folder": {provision.File{Content: &content, Destination: "/y/"}, "name the file"},
		"owner with group":  {provision.File{Source: "x", Destination: "/y", Owner: "a:b"}, "keys of their own"},
	} {
		var got faults
		test.config.Validate(&got)
		check(name, got, test.wrong)
	}
}

func TestShellCheck(t *testing.T) {
	for _, test := range []struct {
		shell *provision.Shell
		wrong string
	}{
		{&provision.Shell{Script: "plain.sh"}, ""},
		{&provision.Shell{Script: "with space ü.sh"}, ""},
		{&provision.Shell{Script: "crlf.sh"}, "crlf.sh has Windows line endings (CRLF)"},
		{&provision.Shell{Inline: "a\r\nb"}, "the inline script has Windows line endings"},
		{&provision.Shell{Script: "absent.sh"}, "no such file"},
		{&provision.Shell{Script: "tree"}, "is a directory"},
		{&provision.Shell{Script: "binary.dat"}, "neither text"},
		{&provision.Shell{Script: "relative.py"}, "absolute path"},
		{scalar("with space ü.sh"), "would run as a command"},
		{scalar("echo a"), ""},
	} {
		err := test.shell.Check(t.Context(), job())
		if (test.wrong == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), test.wrong) || fault.KindOf(err) != fault.Input) {
			t.Errorf("%s: %v", test.shell, err)
		}
	}
}

func scalar(text string) *provision.Shell {
	s := &provision.Shell{}
	s.FromScalar(text)
	return s
}

func TestShellCommand(t *testing.T) {
	elf := filepath.Join(t.TempDir(), "elf")
	if err := os.WriteFile(elf, []byte("\x7fELFxxxx\r\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		shell *provision.Shell
		want  string
	}{
		{&provision.Shell{Inline: "x"}, "/bin/sh -eu /tmp/imagebuild-step/script"},
		{&provision.Shell{Inline: "#!/bin/bash -e\nx", Args: []string{"a b"}}, "/bin/bash -e /tmp/imagebuild-step/script a b"},
		{&provision.Shell{Inline: "\ufeff#! /bin/bash\nx"}, "/bin/bash /tmp/imagebuild-step/script"},
		{&provision.Shell{Inline: "#!/usr/bin/env -S python3 -u\nx"}, "/usr/bin/env -S python3 -u /tmp/imagebuild-step/script"},
		{&provision.Shell{Script: "env.sh"}, "/usr/bin/env sh /tmp/imagebuild-step/env.sh"},
		{&provision.Shell{Script: "env.sh", Interpreter: "/bin/bash -x"}, "/bin/bash -x /tmp/imagebuild-step/env.sh"},
		{&provision.Shell{Script: elf}, "/tmp/imagebuild-step/elf"},
	} {
		g := &fake{}
		if err := test.shell.Apply(t.Context(), g, job()); err != nil {
			t.Errorf("%s: %v", test.shell, err)
		}
		if len(g.log) != 3 || g.log[1] != "run "+test.want || g.log[2] != "run rm -rf -- /tmp/imagebuild-step" {
			t.Errorf("%s: %q", test.shell, g.log)
		}
	}
}

func TestMissingInterpreterIsExplained(t *testing.T) {
	g := &fake{run: func(_ context.Context, c guest.Command) error {
		if len(c.Argv) > 2 && strings.HasPrefix(c.Argv[2], "test -x") {
			return &guest.ExitError{Argv: c.Argv, Status: 1}
		}
		return &guest.ExitError{Argv: c.Argv, Status: 127}
	}}
	err := provision.Run(t.Context(), provision.Step{Number: 1, Dir: dir, Provisioner: &provision.Shell{Script: "missing.py"}}, g, &recorder{})
	if err == nil || !strings.Contains(err.Error(), "the interpreter /opt/missing/python3 is not in the image") || fault.KindOf(err) != fault.Guest {
		t.Errorf("got %v", err)
	}
	g.run = func(_ context.Context, c guest.Command) error {
		return &guest.ExitError{Argv: c.Argv, Status: -1, Signal: "killed"}
	}
	err = provision.Run(t.Context(), provision.Step{Number: 1, Dir: dir, Provisioner: &provision.Shell{Script: "plain.sh"}}, g, &recorder{})
	if err == nil || !strings.Contains(err.Error(), "ended by signal killed") {
		t.Errorf("got %v", err)
	}
	var exit *provision.Error
	if !errors.As(err, &exit) || exit.Tries != 1 {
		t.Errorf("got %+v", exit)
	}
}
