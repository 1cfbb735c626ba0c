package run_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// TestMain doubles as the process that gets killed in TestKilledParent.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RUN_TEST_VICTIM"); dir != "" {
		victim(dir)
	}
	os.Exit(m.Run())
}

func victim(dir string) {
	temp, _, err := run.TempDir(dir, "work-")
	if err != nil {
		panic(err)
	}
	script := `sleep 1000 & echo $! > "$1/grandchild"; mkdir -p "$2/deep/er"; echo $$ > "$1/child"; wait`
	_ = run.Run(context.Background(), run.Spec{Argv: []string{"sh", "-c", script, "sh", dir, temp}, Group: true})
	os.Exit(1)
}

func TestKilledParentLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	self := exec.Command(os.Args[0])
	self.Env = append(os.Environ(), "RUN_TEST_VICTIM="+dir)
	if err := self.Start(); err != nil {
		t.Fatal(err)
	}
	child := waitForPid(t, filepath.Join(dir, "child"))
	grandchild := waitForPid(t, filepath.Join(dir, "grandchild"))
	if err := self.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = self.Wait()
	eventually(t, "child and grandchild are gone, and so is the work folder", func() bool {
		left, _ := filepath.Glob(filepath.Join(dir, "work-*"))
		return !alive(child) && !alive(grandchild) && len(left) == 0
	})
}

func TestCancelKillsTheGroup(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	script := `trap '' TERM; (trap '' TERM; echo $BASHPID > "$1/grandchild"; while :; do sleep 0.05; done) & echo $$ > "$1/child"; wait; while :; do sleep 0.05; done`
	p, err := run.Start(ctx, run.Spec{Argv: []string{"bash", "-c", script, "bash", dir}, Grace: 50 * time.Millisecond, Group: true})
	if err != nil {
		t.Fatal(err)
	}
	child, grandchild := waitForPid(t, filepath.Join(dir, "child")), waitForPid(t, filepath.Join(dir, "grandchild"))
	cancel()
	if err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v, want the cancellation", err)
	}
	eventually(t, "the whole group is gone", func() bool { return !alive(child) && !alive(grandchild) })
}

func TestErrors(t *testing.T) {
	ctx := t.Context()
	err := run.Run(ctx, run.Spec{Argv: []string{"sh", "-c", "echo it broke >&2; exit 3"}})
	var exit *run.ExitError
	if !errors.As(err, &exit) || exit.Status != 3 || exit.Tail != "it broke" {
		t.Errorf("got %#v", err)
	}
	if want := "sh -c 'echo it broke >&2; exit 3': exit status 3: it broke"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	err = run.Run(ctx, run.Spec{Argv: []string{"sh", "-c", "kill -SEGV $$"}})
	if !errors.As(err, &exit) || exit.Status != -1 || exit.Signal == "" {
		t.Errorf("signal: got %#v", err)
	}
	err = run.Run(ctx, run.Spec{Argv: []string{"no-such-tool"}})
	if fault.KindOf(err) != fault.Environment || !strings.Contains(err.Error(), "no-such-tool: command not found") {
		t.Errorf("missing tool: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := run.Run(cancelled, run.Spec{Argv: []string{"true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the start: %v", err)
	}
}

func TestBackgroundHolderOfThePipeDoesNotHangUs(t *testing.T) {
	var out bytes.Buffer
	err := run.Run(t.Context(), run.Spec{Argv: []string{"sh", "-c", "sleep 1000 & echo done"}, Stdout: &out})
	if err != nil || out.String() != "done\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "result")
	f, err := run.CreateFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file has its name before it is whole")
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Abort()
	if got, err := os.ReadFile(name); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	if left, _ := filepath.Glob(name + ".*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	_, err = run.CreateFile(filepath.Join(t.TempDir(), "no", "such", "folder"))
	if err == nil {
		t.Error("no error for a missing folder")
	}
}

func TestSweepSparesWhatIsInUse(t *testing.T) {
	parent := t.TempDir()
	used, err := run.NewWorkDir(parent, "tree-")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := run.NewWorkDir(parent, "tree-")
	if err != nil {
		t.Fatal(err)
	}
	kept.Keep()
	fresh, old := filepath.Join(parent, "tree-fresh"), time.Now().Add(-time.Hour)
	if err := os.Mkdir(fresh, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{used.Path, kept.Path} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := run.Sweep(parent, "tree-", run.SweepAge); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{used.Path: true, kept.Path: false, fresh: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", dir, err, want)
		}
	}
	if err := used.Remove(); err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	err := run.Explain(&os.PathError{Op: "write", Path: "out/x", Err: syscall.ENOSPC})
	if fault.KindOf(err) != fault.Environment || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("got %v", err)
	}
}

func TestLineWriter(t *testing.T) {
	var lines []string
	w := run.LineWriter(func(line string) { lines = append(lines, line) })
	for _, chunk := range []string{"one\ntw", "o\r\n\nbad\xff\n", strings.Repeat("x", run.MaxLine+5), "\nlast"} {
		if n, err := w.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"one", "two", "", "bad\ufffd", strings.Repeat("x", run.MaxLine), "xxxxx", "last"}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("got %q", lines)
	}
}

func TestLinesWrittenOverThemselves(t *testing.T) {
	long := strings.Repeat("working\r", run.MaxLine/8) + "last"
	for in, want := range map[string]string{
		"(Reading ... \r(Reading ... 5%\r(Reading ... 100%\r(Reading ... 30 files.)\nnext\n": "(Reading ... 30 files.)|next",
		"50%\r100%\r\n":          "100%",
		"100%\r    \r\x1b[K\r\n": "100%",
		"100%\r    \rdone":       "done",
		"\r\r\n\rone\r\r\n":      "|one",
		"a long one\rshort\n":    "short",
		long:                     "working|last",
		strings.Repeat("x", run.MaxLine) + "\r\n": strings.Repeat("x", run.MaxLine) + "|",
	} {
		for _, size := range []int{1, 7, len(in)} {
			var lines []string
			w := run.LineWriter(func(line string) { lines = append(lines, line) })
			for at := 0; at < len(in); at += size {
				_, _ = w.Write([]byte(in[at:min(at+size, len(in))]))
			}
			_ = w.Close()
			if got := strings.Join(lines, "|"); got != want {
				t.Errorf("%.60q in pieces of %d: %.200q, want %.200q", in, size, got, want)
			}
		}
	}
	var tail run.Tail
	_, _ = tail.Write([]byte("one\n10%\r90%\rdone\r\n"))
	if got := tail.String(); got != "one\ndone" {
		t.Errorf("tail %q", got)
	}
}

func TestQuote(t *testing.T) {
	got := run.Quote([]string{"qemu-img", "a b", "it's", "", "--x=1,2"})
	if want := `qemu-img 'a b' 'it'\''s' '' --x=1,2`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTailIsBounded(t *testing.T) {
	var tail run.Tail
	for range 100 {
		_, _ = tail.Write(bytes.Repeat([]byte("y"), 1000))
	}
	_, _ = tail.Write([]byte("end"))
	if got := tail.String(); len(got) != run.TailBytes || !strings.HasSuffix(got, "yend") {
		t.Errorf("%d bytes, %q", len(got), got[len(got)-8:])
	}
}

func waitForPid(t *testing.T, file string) int {
	t.Helper()
	pid := 0
	eventually(t, file, func() bool {
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0
	})
	return pid
}

// alive reports whether pid runs; a zombie that nobody reaped yet does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never seen: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
