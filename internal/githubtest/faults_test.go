package githubtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/githubtest"
)

func TestScript(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	s.Fail(githubtest.Fault{Method: "GET", Path: "/releases$", Nth: 2, Times: 2, Effect: githubtest.Status, Status: 503})
	s.Fail(githubtest.Fault{Path: "/pages$", Times: -1, Effect: githubtest.TooMany, RetryAfter: "0"})
	var got []int
	for range 5 {
		resp, _ := c.do("GET", "/releases", nil)
		got = append(got, resp.StatusCode)
		c.must(200, "GET", "", nil)
	}
	if !slices.Equal(got, []int{200, 503, 503, 200, 200}) {
		t.Error(got)
	}
	for range 3 {
		resp, _ := c.do("GET", "/pages", nil)
		if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "0" {
			t.Error(resp.Status, resp.Header)
		}
	}
	calls := s.Calls()
	if len(calls) != 13 || calls[2].Fault != githubtest.Status || calls[2].Status != 503 || calls[2].Number != 3 || s.Count("GET", "/releases$") != 5 {
		t.Errorf("%+v", calls)
	}
}

func TestLimits(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	s.Fail(githubtest.Fault{Effect: githubtest.SecondaryLimit, RetryAfter: "1"})
	s.Fail(githubtest.Fault{Effect: githubtest.PrimaryLimit, Wait: 2 * time.Minute})
	resp, answer := c.do("GET", "", nil)
	if resp.StatusCode != 403 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(fmt.Sprint(answer), "secondary rate limit") || resp.Header.Get("X-RateLimit-Remaining") == "0" {
		t.Error(resp.Status, resp.Header, answer)
	}
}

// Whoever tries again gets through, whatever others ask in between.
func TestChaosEnds(t *testing.T) {
	s, c := newServer(t, githubtest.Options{Chaos: githubtest.Chaos{Seed: "always", OneIn: 1, Row: 3, Faults: []githubtest.Fault{{Effect: githubtest.Status, Status: 503}}}})
	var got []int
	for range 8 {
		resp, _ := c.do("GET", "/releases", nil)
		got = append(got, resp.StatusCode)
		c.do("GET", "/pages", nil)
	}
	if !slices.Equal(got, []int{503, 503, 503, 200, 503, 503, 503, 200}) || s.Count("GET", "/pages$") != 8 {
		t.Error(got)
	}
}

// After means that the request has taken effect.
func TestAfter(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	s.Fail(githubtest.Fault{Method: "POST", Nth: 1, Effect: githubtest.Status, Status: 502})
	s.Fail(githubtest.Fault{Method: "POST", Nth: 2, Effect: githubtest.Status, Status: 502, After: true})
	c.must(502, "POST", "/releases", object{"tag_name": "v1"})
	if all := s.Releases(); len(all) != 0 {
		t.Error(all)
	}
	c.must(502, "POST", "/releases", object{"tag_name": "v1"})
	if all := s.Releases(); len(all) != 1 {
		t.Error(all)
	}
}

func TestBrokenUpload(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	path, upload := c.draft("v1")
	s.Fail(githubtest.Fault{Effect: githubtest.BrokenUpload}) // no matter what else is asked before
	c.must(200, "GET", path, nil)
	c.must(502, "POST", upload+"?name=a", strings.Repeat("x", 1000))
	list := c.list(path + "/assets")
	if len(list) != 1 || list[0].(object)["state"] != githubtest.Starter || list[0].(object)["size"] != 0.0 {
		t.Fatal(list)
	}
	address := fmt.Sprintf("/releases/assets/%.0f", list[0].(object)["id"])
	c.must(422, "POST", upload+"?name=a", "x")
	c.must(204, "DELETE", address, nil)
	c.must(201, "POST", upload+"?name=a", "x")
	s.Fail(githubtest.Fault{Effect: githubtest.AlreadyExists, After: true})
	c.must(422, "POST", upload+"?name=b", "x") // as if another job had been faster
	if all := s.Releases()[0].Assets; len(all) != 2 || all[1].State != githubtest.Uploaded {
		t.Errorf("%+v", all)
	}
}

// The client goes away half-way through, as a killed job does.
func TestAbandonedUpload(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	_, upload := c.draft("v1")
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, upload+"?name=a", r)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 1 << 20
	req.Header.Set("Authorization", "Bearer "+s.Token(githubtest.Write))
	req.Header.Set("Content-Type", "text/plain")
	done := make(chan error)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	if _, err := w.Write(make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}
	if err := s.Await(ctx, func() bool { return len(s.Releases()[0].Assets) == 1 }); err != nil { // the name is taken while the upload runs
		t.Fatal(err)
	}
	c.must(422, "POST", upload+"?name=a", "x")
	cancel()
	w.CloseWithError(io.ErrClosedPipe) // net/http waits for the body's reader
	if err := <-done; err == nil {
		t.Error("half an upload went well")
	}
	if all := s.Releases()[0].Assets; len(all) != 1 || all[0].State != githubtest.Starter {
		t.Errorf("%+v", all)
	}
}

func TestConnectionFaults(t *testing.T) {
	s, _ := newServer(t, githubtest.Options{})
	ask := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.APIURL()+"/repos/octo/images", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	s.Fail(githubtest.Fault{Effect: githubtest.Reset})
	if err := ask(t.Context()); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	s.Fail(githubtest.Fault{Effect: githubtest.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	s.Fail(githubtest.Fault{Effect: githubtest.Slow, Delay: 30 * time.Millisecond})
	began := time.Now()
	if err := ask(t.Context()); err != nil || time.Since(began) < 30*time.Millisecond {
		t.Error(err, time.Since(began))
	}
}

func TestChaosRepeatsItself(t *testing.T) {
	run := func(seed string) (all []githubtest.Effect) {
		s, c := newServer(t, githubtest.Options{Chaos: githubtest.Chaos{Seed: seed, OneIn: 3, Faults: []githubtest.Fault{
			{Effect: githubtest.Status}, {Effect: githubtest.TooMany}, {Effect: githubtest.BrokenUpload}, {Effect: githubtest.Status, Path: "/git/"},
		}}})
		for range 60 {
			c.do("GET", "/releases", nil)
		}
		for _, each := range s.Calls() {
			all = append(all, each.Fault)
		}
		return all
	}
	one, again, other := run("one"), run("one"), run("other")
	if !slices.Equal(one, again) || slices.Equal(one, other) {
		t.Error(one, again, other)
	}
	for _, want := range []githubtest.Effect{"", githubtest.Status, githubtest.TooMany} {
		if !slices.Contains(one, want) {
			t.Errorf("no %q among %v", want, one)
		}
	}
	if slices.Contains(one, githubtest.BrokenUpload) {
		t.Error("a list was uploaded")
	}
}

// Twelve clients at once: for -race, and so that one of several wins.
func TestRace(t *testing.T) {
	s, owner := newServer(t, githubtest.Options{Lag: githubtest.Lag{Calls: 3, Seed: "race"}, Chaos: githubtest.Chaos{
		Seed: "race", OneIn: 20, Faults: []githubtest.Fault{{Effect: githubtest.Status}, {Effect: githubtest.BrokenUpload}, {Effect: githubtest.Status, After: true}},
	}})
	_, upload := "", ""
	for upload == "" {
		if _, made := owner.do("POST", "/releases", object{"tag_name": "v1", "draft": true}); made["upload_url"] != nil {
			upload, _, _ = strings.Cut(made["upload_url"].(string), "{")
		}
	}
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			c := raw{t, s, githubtest.Write}
			for j := range 10 {
				c.do("POST", "/releases", object{"tag_name": "v1", "draft": true})
				c.do("GET", "/releases", nil)
				c.do("POST", fmt.Sprintf("%s?name=%d", upload, j), fmt.Sprint(i))
				s.Releases()
				s.Calls()
			}
		})
	}
	group.Wait()
	names := map[string]bool{}
	for _, each := range s.Releases()[0].Assets {
		if names[each.Name] {
			t.Errorf("%s is there twice", each.Name)
		}
		names[each.Name] = true
	}
	if len(names) != 10 {
		t.Errorf("%d names", len(names))
	}
}
