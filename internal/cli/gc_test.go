package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/ebsdirect"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/target"
)

// TestGC: what a dead run noted and made is shown, then removed.
func TestGC(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	server.Setenv(t, os.Environ())
	cache := t.TempDir()
	made := deadRun(t, cache)
	gc := func(args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		code = Main(t.Context(), Process{
			Argv: append([]string{"imagebuild", "gc", "--cache-dir", cache}, args...), LookupEnv: os.LookupEnv, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		})
		return code, out.String(), errs.String()
	}
	code, stdout, stderr := gc("--dry-run", "--json")
	var left []target.Leftover
	if err := json.Unmarshal([]byte(stdout), &left); code != 0 || err != nil || len(left) != 1 || left[0].ID != made || left[0].Gone || left[0].Run != "run-1" {
		t.Errorf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if len(server.Resources()) != 1 {
		t.Errorf("--dry-run removed something: %q", server.Resources())
	}
	if code, stdout, stderr = gc(); code != 0 || !strings.Contains(stdout, "removed  eu-west-1  snapshot  "+made) {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = gc(); code != 0 || stdout != "" || !strings.Contains(stderr, "nothing is left") || len(server.Resources()) != 0 {
		t.Errorf("exit code %d: %s%s, %q", code, stdout, stderr, server.Resources())
	}
	if code, _, stderr = gc("--platform", "vmware"); code != 2 || !strings.Contains(stderr, `--platform "vmware": want one of [aws]`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if files, _ := filepath.Glob(filepath.Join(build.JournalDir(cache), "*")); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}

// deadRun begins a snapshot, as a run does that is killed then.
func deadRun(t *testing.T, cache string) string {
	t.Helper()
	cloud, err := amazon.Open(context.Background(), amazon.Access{}, "eu-west-1", amazon.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Create(build.JournalDir(cache), "aws", "run-1")
	if err != nil {
		t.Fatal(err)
	}
	id, err := ebsdirect.Start(t.Context(), cloud, ebsdirect.New{Region: "eu-west-1", SizeGiB: 1, Description: "golden", Token: "run-1", Minutes: 60, Tags: map[string]string{"imagebuild:run": "run-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Made(journal.Entry{Kind: "snapshot", Place: "eu-west-1", ID: id}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return id
}
