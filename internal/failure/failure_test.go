package failure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/report"
)

const png = "\x89PNG\r\n\x1a\n and so on"

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Path)
	}
	return all
}

func TestWrite(t *testing.T) {
	secrets := &redact.Set{}
	if err := secrets.Add("hunter2-secret"); err != nil {
		t.Fatal(err)
	}
	recorder := Record(report.Discard)
	cause := fault.Errorf(fault.Guest, "step 2: exit status 1; it said:\n    \x1b[31mhunter2-secret")
	_ = report.Do(recorder, "source", func(report.Task) error { return nil })
	err := report.Do(recorder, "provision", func(stage report.Task) error {
		_ = report.Do(stage, "First", func(task report.Task) error { task.Line("fine"); return nil })
		return report.Do(stage, "Install ../../tools", func(task report.Task) error {
			task.Line("the password is hunter2-secret\x1b]0;x\a")
			task.Warn("try %d failed", 1)
			return cause
		})
	})
	dir := filepath.Join(t.TempDir(), Dir)
	err = Write(dir, Cause{Err: err, Recorder: recorder, Plan: []byte("{}\n"), Secrets: secrets})
	if !errors.Is(err, cause) || fault.KindOf(err) != fault.Guest || !strings.Contains(err.Error(), "more is in "+dir) {
		t.Errorf("error %v", err)
	}
	if got, want := names(t, dir), []string{"README.txt", "logs/01-install-tools.log", "plan.json", "timings.json"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if got, want := read(t, dir, "logs/01-install-tools.log"), "provision: Install ../../tools\n\nthe password is ***\nwarning: try 1 failed\n\nfailed: step 2: exit status 1; it said:\n    ***\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	index := read(t, dir, IndexFile)
	for _, want := range []string{"a problem of: guest", "    provision: Install ../../tools: step 2", "logs/01-install-tools.log", "timings.json", "what was to be built"} {
		if !strings.Contains(index, want) {
			t.Errorf("the index lacks %q:\n%s", want, index)
		}
	}
	if strings.Contains(index, "hunter2") || strings.Contains(index, "\x1b") {
		t.Errorf("the index says too much: %q", index)
	}
	var timings []Timing
	if err := json.Unmarshal([]byte(read(t, dir, timingsFile)), &timings); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, each := range timings {
		got = append(got, fmt.Sprint(each.Task, " ", each.Failed, each.Running))
	}
	if want := []string{"source false false", "provision true false", "provision: First false false", "provision: Install ../../tools true false"}; !slices.Equal(got, want) {
		t.Errorf("timings %q", got)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the bundle is there still")
	}
}

func TestHugeLogIsBounded(t *testing.T) {
	recorder := Record(report.Discard)
	task := recorder.Begin("endless")
	line := strings.Repeat("x", 99)
	for i := range 100_000 { // 10 MB
		task.Line(fmt.Sprintf("%d %s", i, line))
	}
	task.End(errors.New("too much"))
	text := recorder.failed[0].String()
	if len(text) > headBytes+tailBytes+1000 || cap(recorder.failed[0].tail) > 4*tailBytes {
		t.Errorf("%d bytes, %d in memory", len(text), cap(recorder.failed[0].tail))
	}
	for _, want := range []string{"\n0 xxx", "bytes are left out here", "\n99999 xxx", "failed: too much"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the log", want)
		}
	}
}

func TestManyTasksAreBounded(t *testing.T) {
	recorder := Record(report.Discard)
	var group sync.WaitGroup
	for range 8 { // at once
		group.Go(func() {
			for i := range 1000 {
				task := recorder.Begin(fmt.Sprint(i))
				task.Note("x")
				task.End(errors.New("fails"))
				task.Line("late") // as a step's last words may be
			}
		})
	}
	group.Wait()
	dir := t.TempDir()
	if err := recorder.writeLogs(dir, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(names(t, dir)); n != maxLogs || len(recorder.Timings()) != maxTimings {
		t.Errorf("%d logs, %d timings", n, len(recorder.Timings()))
	}
}

func TestSlug(t *testing.T) {
	for text, want := range map[string]string{
		"Install tools": "install-tools", "../../etc/passwd": "etc-passwd", "": "task", "漢字": "task", "a\x00\x1b[31mb": "a-31mb",
		strings.Repeat("x", 200): strings.Repeat("x", 60), "--x--": "x",
	} {
		if got := slug(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// machine is a machine whose screen is a file with this content.
type machine struct {
	screen string
	err    error
}

func (m machine) Screendump(_ context.Context, path string) error {
	return errors.Join(m.err, os.WriteFile(path, []byte(m.screen), 0o600))
}

func TestKeepMachine(t *testing.T) {
	secrets := &redact.Set{}
	if err := secrets.Add("hunter2-secret"); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	serial := filepath.Join(work, "console")
	if err := os.WriteFile(serial, []byte("\x1b[2J[ OK ] hunter2-secret\r\nlogin:"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		machine machine
		serial  string
		files   []string
		wrong   string
	}{
		"whole":      {machine{png, nil}, serial, []string{"reproduce.sh", "screen.png", "serial.log"}, ""},
		"no serial":  {machine{png, nil}, "", []string{"reproduce.sh", "screen.png"}, ""},
		"dead":       {machine{"", errors.New("it is gone")}, serial, []string{"reproduce.sh", "serial.log"}, "it is gone"},
		"no picture": {machine{"#!/bin/sh", nil}, serial, []string{"reproduce.sh", "serial.log"}, "no PNG"},
		"no log":     {machine{png, nil}, serial + "x", []string{"reproduce.sh", "screen.png"}, "no such file"},
	} {
		dir := filepath.Join(t.TempDir(), "golden.box")
		kept, err := KeepMachine(t.Context(), dir, test.machine, Remains{Work: work, SerialLog: test.serial, Script: "qemu-system-x86_64\n", Secrets: secrets})
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: %v", name, err)
		}
		if got := names(t, dir); !slices.Equal(got, test.files) {
			t.Errorf("%s: %q", name, got)
		}
		if (kept.Screen != "") != slices.Contains(test.files, ScreenFile) || (kept.SerialLog != "") != slices.Contains(test.files, SerialFile) || kept.Reproduce == "" {
			t.Errorf("%s: %+v", name, kept)
		}
		if info, err := os.Stat(kept.Reproduce); err != nil || info.Mode()&0o111 == 0 || !strings.HasSuffix(read(t, kept.Reproduce), "\nset -e\nqemu-system-x86_64\n") {
			t.Errorf("%s: %v", name, err)
		}
		if kept.SerialLog != "" {
			if got := read(t, kept.SerialLog); got != "[ OK ] ***\nlogin:\n" {
				t.Errorf("%s: serial %q", name, got)
			}
		}
	}
}

func TestWriteFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("the build failed")
	if err := Write(filepath.Join(file, Dir), Cause{Err: cause}); !errors.Is(err, cause) || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("error %v", err)
	}
}
