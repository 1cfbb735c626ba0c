package github_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/githubtest"
)

// Every call of a commit fails once, in every way: there is one commit, and it
// is right.
func TestCommitFileWhateverFails(t *testing.T) {
	faults := map[string]githubtest.Fault{
		"error before": {Effect: githubtest.Status, Status: 502}, "error after": {Effect: githubtest.Status, Status: 502, After: true},
		"reset before": {Effect: githubtest.Reset}, "reset after": {Effect: githubtest.Reset, After: true},
		"hang": {Effect: githubtest.Hang}, "hang after": {Effect: githubtest.Hang, After: true},
		"limit": {Effect: githubtest.SecondaryLimit, RetryAfter: "60"}, "429": {Effect: githubtest.TooMany},
		"primary limit": {Effect: githubtest.PrimaryLimit},
	}
	for _, existing := range []bool{false, true} {
		// prepare makes a server whose branch may be there with another file.
		prepare := func(t *testing.T, callTime time.Duration) (*githubtest.Server, *github.Client, int) {
			clock := newClock()
			s := githubtest.New(t, githubtest.Options{Now: clock.Now})
			if existing {
				s.Commit("gh-pages", map[string]string{"index.html": "hello", "box.json": "old"})
			}
			return s, connect(t, s, clock, func(o *github.Options) { o.CallTime = callTime }), len(s.Log("gh-pages"))
		}
		s, c, _ := prepare(t, time.Minute)
		if _, err := c.CommitFile(t.Context(), "gh-pages", "box.json", []byte("{}"), "Catalog"); err != nil {
			t.Fatal(err)
		}
		calls := len(s.Calls())
		if calls < 5 {
			t.Fatalf("only %d calls", calls)
		}
		for name, fault := range faults {
			t.Run(fmt.Sprintf("%s, existing %t", name, existing), func(t *testing.T) {
				for n := 1; n <= calls; n++ {
					callTime := time.Minute
					if fault.Effect == githubtest.Hang {
						callTime = 100 * time.Millisecond
					}
					s, c, before := prepare(t, callTime)
					fault.Nth = n
					s.Fail(fault)
					sha, err := c.CommitFile(t.Context(), "gh-pages", "box.json", []byte("{}"), "Catalog")
					if err != nil {
						t.Fatalf("call %d: %v", n, err)
					}
					files, log := s.Files("gh-pages"), s.Log("gh-pages")
					if files["box.json"] != "{}" || (files["index.html"] == "hello") != existing || len(log) != before+1 || log[0] != sha {
						t.Errorf("call %d: %v %v", n, files, log)
					}
				}
			})
		}
	}
}

func TestCommitFileGivesUp(t *testing.T) {
	clock := newClock()
	s := githubtest.New(t, githubtest.Options{Now: clock.Now})
	c := connect(t, s, clock, func(o *github.Options) { o.Token = s.Token(githubtest.Read) })
	if _, err := c.CommitFile(t.Context(), "gh-pages", "a", []byte("x"), "m"); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	c = connect(t, s, clock, nil)
	s.Commit("gh-pages", map[string]string{"b": "x"})
	for _, test := range []struct {
		status int
		says   string
		calls  int
		kind   fault.Kind
	}{
		{409, "the branch moved 20 times", 20, fault.Remote}, // others are always first
		{422, "422 Unprocessable Entity", 1, fault.Input},    // as a protected branch answers
	} {
		before := s.Count("PATCH", "/git/refs/")
		s.Fail(githubtest.Fault{Method: "PATCH", Path: "/git/refs/", Effect: githubtest.Status, Status: test.status, Times: test.calls})
		_, err := c.CommitFile(t.Context(), "gh-pages", "a", []byte("x"), "m")
		if fault.KindOf(err) != test.kind || !strings.Contains(fmt.Sprint(err), test.says) || s.Count("PATCH", "/git/refs/")-before != test.calls {
			t.Errorf("%v, kind %s", err, fault.KindOf(err))
		}
	}
	if files := s.Files("gh-pages"); len(files) != 1 {
		t.Error(files)
	}
}

// A dozen jobs commit at once, each its own file.
func TestRacingCommits(t *testing.T) {
	for _, chaos := range []githubtest.Chaos{{}, {Seed: "commits", OneIn: 15, Faults: []githubtest.Fault{
		{Effect: githubtest.Status, Status: 502},
		{Effect: githubtest.Status, Status: 502, After: true},
		{Effect: githubtest.Reset},
		{Effect: githubtest.Reset, After: true},
		{Effect: githubtest.TooMany, RetryAfter: "1"},
	}}} {
		clock := newClock()
		s := githubtest.New(t, githubtest.Options{Now: clock.Now, Chaos: chaos})
		var group sync.WaitGroup
		for i := range 12 {
			c := connect(t, s, clock, func(o *github.Options) { o.JitterSeed = fmt.Sprint(i) })
			group.Go(func() {
				if _, err := c.CommitFile(t.Context(), "gh-pages", fmt.Sprintf("boxes/%d.json", i), []byte(fmt.Sprint(i)), "Catalog"); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		files := s.Files("gh-pages")
		for i := range 12 {
			if files[fmt.Sprintf("boxes/%d.json", i)] != fmt.Sprint(i) {
				t.Errorf("%d is missing: %v", i, files)
			}
		}
		if log := s.Log("gh-pages"); len(log) != 12 {
			t.Errorf("%d commits", len(log))
		}
	}
}
