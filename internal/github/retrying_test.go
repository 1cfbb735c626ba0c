package github_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/githubtest"
)

// total is how long the client has waited.
func (c *clock) total() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum time.Duration
	for _, d := range c.slept {
		sum += d
	}
	return sum
}

func TestReadingIsTriedAgain(t *testing.T) {
	tests := []struct {
		name     string
		fault    githubtest.Fault
		min, max time.Duration // of the wait
		calls    int
		fails    string
		kind     fault.Kind
	}{
		{"server error", githubtest.Fault{Effect: githubtest.Status, Status: 502, Times: 3}, time.Second, 6 * time.Second, 4, "", 0},
		{"reset", githubtest.Fault{Effect: githubtest.Reset, Times: 2}, 0, 4 * time.Second, 3, "", 0},
		{"hang", githubtest.Fault{Effect: githubtest.Hang}, 0, 4 * time.Second, 2, "", 0},
		{"secondary limit", githubtest.Fault{Effect: githubtest.SecondaryLimit, RetryAfter: "60"}, time.Minute, 75 * time.Second, 2, "", 0},
		{"secondary limit, no header", githubtest.Fault{Effect: githubtest.SecondaryLimit, Times: 2}, 3 * time.Minute, 4 * time.Minute, 3, "", 0},
		{"secondary limit, at once", githubtest.Fault{Effect: githubtest.SecondaryLimit, RetryAfter: "0"}, 0, time.Second, 2, "", 0},
		{"429", githubtest.Fault{Effect: githubtest.TooMany, RetryAfter: "1"}, time.Second, 3 * time.Second, 2, "", 0},
		{"429, no header", githubtest.Fault{Effect: githubtest.TooMany}, time.Minute, 75 * time.Second, 2, "", 0},
		{"primary limit", githubtest.Fault{Effect: githubtest.PrimaryLimit, Wait: 5 * time.Minute}, 5 * time.Minute, 316 * time.Second, 2, "", 0},
		{"primary limit, too far off", githubtest.Fault{Effect: githubtest.PrimaryLimit, Wait: 50 * time.Minute}, 0, 0, 1, "the rate limit ends at 2026-10-01T12:50:01Z: try again then", fault.Remote},
		{"never any better", githubtest.Fault{Effect: githubtest.Status, Status: 500, Times: -1}, 7 * time.Second, 24 * time.Second, 6, "500 Internal Server Error", fault.Remote},
		{"never any answer", githubtest.Fault{Effect: githubtest.Reset, Times: -1}, 7 * time.Second, 24 * time.Second, 6, "connection reset by peer", fault.Remote},
		{"not implemented", githubtest.Fault{Effect: githubtest.Status, Status: 501}, 0, 0, 1, "501 Not Implemented", fault.Remote},
		{"gone", githubtest.Fault{Effect: githubtest.Status, Status: 404}, 0, 0, 1, "404 Not Found; it is not there, or the token may not see it", fault.Input},
		{"forbidden", githubtest.Fault{Effect: githubtest.Status, Status: 403}, 0, 0, 1, "403 Forbidden", fault.Input},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock := newClock()
			s := githubtest.New(t, githubtest.Options{Now: clock.Now})
			c := connect(t, s, clock, func(o *github.Options) {
				if test.fault.Effect == githubtest.Hang {
					o.CallTime = 200 * time.Millisecond
				}
			})
			s.Fail(test.fault)
			info, err := c.Info(t.Context())
			switch {
			case test.fails == "" && (err != nil || info.DefaultBranch != "main"):
				t.Error(err)
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails) || fault.KindOf(err) != test.kind):
				t.Errorf("%v, kind %s", err, fault.KindOf(err))
			}
			if total := clock.total(); total < test.min || total > test.max {
				t.Errorf("waited %s", total)
			}
			if calls := len(s.Calls()); calls != test.calls {
				t.Errorf("%d calls", calls)
			}
		})
	}
}

// An exhausted limit is waited for, and go-github's own memory of it does not
// stand in the way.
func TestLimitOfTheHour(t *testing.T) {
	clock := newClock()
	clock.now = time.Now().Add(time.Hour) // go-github compares with the machine's own clock
	s := githubtest.New(t, githubtest.Options{Now: clock.Now, RateLimit: 2})
	c := connect(t, s, clock, func(o *github.Options) { o.MaxElapsed = 2 * time.Hour })
	for range 5 {
		if _, err := c.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if total := clock.total(); total < 2*time.Hour || total > 2*time.Hour+time.Minute {
		t.Errorf("waited %s", total)
	}
}

func TestJitter(t *testing.T) {
	waits := func(seed string) []time.Duration {
		clock := newClock()
		s := githubtest.New(t, githubtest.Options{Now: clock.Now})
		c := connect(t, s, clock, func(o *github.Options) { o.JitterSeed = seed })
		s.Fail(githubtest.Fault{Effect: githubtest.Status, Times: -1})
		if err := c.Pause(t.Context(), 3, nil); err != nil {
			t.Fatal(err)
		}
		return clock.slept
	}
	one, again, other := waits("one"), waits("one"), waits("other")
	if !slices.Equal(one, again) || slices.Equal(one, other) {
		t.Error(one, again, other)
	}
}

// What must happen once is repeated only where it has surely not happened.
func TestCreatingIsNotRepeated(t *testing.T) {
	tests := []struct {
		name     string
		fault    githubtest.Fault
		posts    int
		releases int
		unknown  bool
	}{
		{"no fault", githubtest.Fault{Method: "GET", Effect: githubtest.Reset}, 1, 1, false},
		{"limit", githubtest.Fault{Effect: githubtest.SecondaryLimit, RetryAfter: "1"}, 2, 1, false},
		{"429", githubtest.Fault{Effect: githubtest.TooMany}, 2, 1, false},
		{"error before", githubtest.Fault{Effect: githubtest.Status, Status: 502}, 1, 0, true},
		{"error after", githubtest.Fault{Effect: githubtest.Status, Status: 502, After: true}, 1, 1, true},
		{"reset before", githubtest.Fault{Effect: githubtest.Reset}, 1, 0, true},
		{"reset after", githubtest.Fault{Effect: githubtest.Reset, After: true}, 1, 1, true},
		{"hang before", githubtest.Fault{Effect: githubtest.Hang}, 1, 0, true},
		{"hang after", githubtest.Fault{Effect: githubtest.Hang, After: true}, 1, 1, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock := newClock()
			s := githubtest.New(t, githubtest.Options{Now: clock.Now})
			c := connect(t, s, clock, func(o *github.Options) {
				if test.fault.Effect == githubtest.Hang {
					o.CallTime = 200 * time.Millisecond
				}
			})
			s.Fail(test.fault)
			release, err := c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1.0.0", Draft: true})
			if github.OutcomeUnknown(err) != test.unknown || test.unknown != (release == nil) {
				t.Error(release, err)
			}
			if test.unknown && (!github.Temporary(err) || fault.KindOf(err) != fault.Remote || !strings.Contains(err.Error(), "may have taken effect")) {
				t.Error(err)
			}
			if posts := s.Count("POST", "/releases$"); posts != test.posts || len(s.Releases()) != test.releases {
				t.Errorf("%d posts, %d releases", posts, len(s.Releases()))
			}
		})
	}
}

// A server that is not there was never asked.
func TestRefusedConnectionIsTriedAgain(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	clock := newClock()
	c, err := github.New(github.Options{APIURL: gone.URL, Repository: "octo/images", Now: clock.Now, Sleep: clock.Sleep})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1"})
	if err == nil || github.OutcomeUnknown(err) || !github.Temporary(err) || len(clock.slept) != 5 || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err, clock.slept)
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	for _, cause := range []error{nil, errors.New("the job was stopped")} {
		clock := newClock()
		s := githubtest.New(t, githubtest.Options{Now: clock.Now})
		ctx, cancel := context.WithCancelCause(t.Context())
		c := connect(t, s, clock, func(o *github.Options) {
			o.Sleep = func(ctx context.Context, _ time.Duration) error {
				cancel(cause)
				return context.Cause(ctx)
			}
		})
		s.Fail(githubtest.Fault{Effect: githubtest.TooMany, Times: -1})
		_, err := c.Info(ctx)
		if fault.KindOf(err) != fault.Cancelled || len(s.Calls()) != 1 {
			t.Errorf("%v, kind %s, %d calls", err, fault.KindOf(err), len(s.Calls()))
		}
	}
}

func TestCancelledWhileHanging(t *testing.T) {
	clock := newClock()
	s := githubtest.New(t, githubtest.Options{Now: clock.Now})
	c := connect(t, s, clock, nil)
	s.Fail(githubtest.Fault{Effect: githubtest.Hang, Times: -1})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = s.Await(ctx, func() bool { return len(s.Calls()) == 1 })
		cancel()
	}()
	_, err := c.CreateRelease(ctx, github.NewRelease{Tag: "v1"})
	if fault.KindOf(err) != fault.Cancelled || !github.OutcomeUnknown(err) || github.Temporary(err) {
		t.Errorf("%v, kind %s", err, fault.KindOf(err))
	}
}

func TestPause(t *testing.T) {
	clock := newClock()
	s := githubtest.New(t, githubtest.Options{Now: clock.Now})
	c := connect(t, s, clock, nil)
	limit := &github.Error{RetryAt: clock.Now().Add(time.Minute)}
	if err := c.Pause(t.Context(), 1, fmt.Errorf("around: %w", limit)); err != nil || clock.total() < time.Minute || clock.total() > 80*time.Second {
		t.Error(err, clock.total())
	}
	far := &github.Error{RetryAt: clock.Now().Add(time.Hour)}
	if err := c.Pause(t.Context(), 1, far); !errors.Is(err, far) {
		t.Error(err)
	}
	for attempt := range 40 {
		before := clock.total()
		if err := c.Pause(t.Context(), attempt, nil); err != nil || clock.total()-before > 45*time.Second || clock.total() == before {
			t.Error(attempt, err, clock.total()-before)
		}
	}
}
