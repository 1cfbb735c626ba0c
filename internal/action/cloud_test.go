package action

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/ebsdirect"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/journal"
)

const role = "arn:aws:iam::111122223333:role/images"

// TestPostRemovesWhatAKilledMainMade: with the role that main had, and nothing
// where main ended by itself.
func TestPostRemovesWhatAKilledMainMade(t *testing.T) {
	for _, ended := range []bool{false, true} {
		server := awstest.New(t, awstest.Options{RoleARN: role})
		server.Setenv(t, os.Environ())
		s := newStage(t)
		s.env["INPUT_AWS-ROLE"], s.env["ACTIONS_ID_TOKEN_REQUEST_URL"], s.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = role, server.TokenURL(), awstest.TokenSecret
		if ended {
			s.env["STATE_"+stateDone] = "yes"
		}
		journals := build.JournalDir(filepath.Join(s.env["HOME"], ".cache", "imagebuild"))
		beginSnapshot(t, journals)
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		if err := os.MkdirAll(filepath.Join(s.workspace, "out"), 0o755); err != nil {
			t.Fatal(err)
		}
		if code, obeyed, shown := s.run(StagePost); code != 0 {
			t.Errorf("exit code %d, %q, %q", code, obeyed, shown)
		}
		left, _ := filepath.Glob(filepath.Join(journals, "*"))
		if kept := len(server.Resources()) == 1; kept != ended || (len(left) == 1) != ended || (server.Sessions() == 0) != ended {
			t.Errorf("main ended by itself: %t; left %q, journals %v, %d sessions", ended, server.Resources(), left, server.Sessions())
		}
	}
}

// beginSnapshot is what a run does that is killed then.
func beginSnapshot(t *testing.T, journals string) {
	t.Helper()
	cloud, err := amazon.Open(t.Context(), amazon.Access{}, "eu-west-1", amazon.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Create(journals, "aws", "run-1")
	if err != nil {
		t.Fatal(err)
	}
	id, err := ebsdirect.Start(t.Context(), cloud, ebsdirect.New{Region: "eu-west-1", SizeGiB: 1, Description: "golden", Token: "run-1", Minutes: 60})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Made(journal.Entry{Kind: "snapshot", Place: "eu-west-1", ID: id}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestIDToken: the token is masked before anything can show it; a job without
// the right to one is told which.
func TestIDToken(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	env := map[string]string{}
	var log bytes.Buffer
	j := newJob(Process{Stdout: &log, LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if _, err := j.idToken(t.Context(), amazon.Audience); err == nil || !strings.Contains(err.Error(), "permissions: {id-token: write}") || fault.KindOf(err) != fault.Input {
		t.Errorf("%v", err)
	}
	env["ACTIONS_ID_TOKEN_REQUEST_URL"], env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = server.TokenURL(), awstest.TokenSecret
	token, err := j.idToken(t.Context(), amazon.Audience)
	if err != nil || strings.Count(token, ".") != 2 || !strings.Contains(log.String(), "::add-mask::"+token) {
		t.Errorf("%q, %v: %s", token, err, log.String())
	}
	env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "another"
	if _, err := j.idToken(t.Context(), amazon.Audience); err == nil || fault.KindOf(err) != fault.Remote {
		t.Errorf("%v", err)
	}
}
