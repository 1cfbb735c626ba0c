package githubtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/githubtest"
)

func TestDraftsOfOneTag(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	first, _ := c.draft("v1")
	second, _ := c.draft("v1")
	if seen := c.list("/releases"); len(seen) != 2 {
		t.Error(seen)
	}
	c.must(404, "GET", "/releases/tags/v1", nil)
	c.must(404, "GET", "/releases/latest", nil)
	if s.Refs()["refs/tags/v1"] != "" {
		t.Error("a draft has made its tag")
	}
	c.must(200, "PATCH", first, object{"draft": false})
	if s.Refs()["refs/tags/v1"] != s.Refs()["refs/heads/main"] {
		t.Error(s.Refs())
	}
	refused := c.must(422, "PATCH", second, object{"draft": false})
	if text := fmt.Sprint(refused["errors"]); !strings.Contains(text, "already_exists") || !strings.Contains(text, "tag_name") {
		t.Error(text)
	}
	c.must(422, "POST", "/releases", object{"tag_name": "v1"})
	c.draft("v1") // but drafts are always welcome
	c.must(204, "DELETE", second, nil)
	c.must(404, "DELETE", second, nil)
	c.must(404, "PATCH", second, object{"draft": false})
	if all := s.Releases(); len(all) != 2 || all[0].Draft || !all[1].Draft || !all[0].Latest {
		t.Errorf("%+v", all)
	}
}

func TestTagAndTarget(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	early := s.Refs()["refs/heads/main"]
	s.Commit("main", map[string]string{"x": "y"})
	c.must(201, "POST", "/releases", object{"tag_name": "v1", "target_commitish": early})
	if s.Refs()["refs/tags/v1"] != early {
		t.Error(s.Refs())
	}
	c.must(422, "POST", "/releases", object{"tag_name": "v2", "target_commitish": "nowhere", "draft": true})
	c.must(422, "POST", "/releases", object{"tag_name": " "})
	c.must(201, "POST", "/releases", object{"tag_name": "feature/v3"})
	c.must(200, "GET", "/releases/tags/feature/v3", nil)
	c.must(200, "GET", "/releases/tags/feature%2Fv3", nil)
}

func TestLatest(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	latest := func(want string) {
		t.Helper()
		if got := c.must(200, "GET", "/releases/latest", nil)["tag_name"]; got != want {
			t.Errorf("latest is %v, not %s", got, want)
		}
	}
	c.must(201, "POST", "/releases", object{"tag_name": "v1"})
	latest("v1")
	c.must(201, "POST", "/releases", object{"tag_name": "v2-rc1", "prerelease": true})
	latest("v1")
	c.must(201, "POST", "/releases", object{"tag_name": "v0.9", "make_latest": "false"})
	latest("v1")
	path, _ := c.draft("v2")
	latest("v1")
	c.must(200, "PATCH", path, object{"draft": false})
	latest("v2")
	c.must(200, "PATCH", fmt.Sprintf("/releases/%d", s.Releases()[0].ID), object{"make_latest": "true"})
	latest("v1")
}

func TestTooLong(t *testing.T) {
	_, c := newServer(t, githubtest.Options{MaxAssets: 2})
	long := strings.Repeat("ä", 125_000)
	c.must(201, "POST", "/releases", object{"tag_name": "v1", "body": long, "draft": true})
	c.must(422, "POST", "/releases", object{"tag_name": "v1", "body": long + "x", "draft": true})
	_, upload := c.draft("v2")
	c.must(201, "POST", upload+"?name=a", "x")
	c.must(201, "POST", upload+"?name=b", "x")
	c.must(422, "POST", upload+"?name=c", "x")
}

func TestLag(t *testing.T) {
	count := func(c raw) int { return len(c.list("/releases")) }
	t.Run("calls", func(t *testing.T) {
		_, c := newServer(t, githubtest.Options{Lag: githubtest.Lag{Calls: 2}})
		path, _ := c.draft("v1")
		c.must(200, "GET", path, nil) // found by its number at once
		if counts := []int{count(c), count(c), count(c)}; !slices.Equal(counts, []int{0, 0, 1}) {
			t.Error(counts)
		}
	})
	t.Run("time", func(t *testing.T) {
		now := time.Unix(1_800_000_000, 0)
		s, c := newServer(t, githubtest.Options{Lag: githubtest.Lag{Time: time.Minute}, Now: func() time.Time { return now }})
		c.draft("v1")
		before := count(c)
		now = now.Add(time.Minute)
		after := count(c)
		c.draft("v2")
		s.Settle()
		if settled := count(c); before != 0 || after != 1 || settled != 2 {
			t.Error(before, after, settled)
		}
	})
	t.Run("seed", func(t *testing.T) {
		counts := func(seed string) (all []int) {
			_, c := newServer(t, githubtest.Options{Lag: githubtest.Lag{Calls: 5, Seed: seed}})
			for i := range 5 {
				c.draft(fmt.Sprint("v", i))
			}
			for range 6 {
				all = append(all, count(c))
			}
			return all
		}
		one, again, other := counts("one"), counts("one"), counts("other")
		if !slices.Equal(one, again) || slices.Equal(one, other) || one[5] != 5 || other[5] != 5 {
			t.Error(one, again, other)
		}
	})
}

func TestPages(t *testing.T) {
	_, c := newServer(t, githubtest.Options{})
	for i := range 7 {
		c.draft(fmt.Sprint("v", i))
	}
	resp, answer := c.do("GET", "/releases?per_page=3&page=2", nil)
	link := resp.Header.Get("Link")
	for _, want := range []string{`page=3>; rel="next"`, `page=3>; rel="last"`, `page=1>; rel="prev"`, `page=1>; rel="first"`} {
		if !strings.Contains(link, want) {
			t.Errorf("%s lacks %s", link, want)
		}
	}
	if list, _ := answer["list"].([]any); len(list) != 3 || list[0].(object)["tag_name"] != "v3" {
		t.Error(list)
	}
	if last := c.list("/releases?per_page=3&page=3"); len(last) != 1 {
		t.Error(last)
	}
	if none := c.list("/releases?per_page=3&page=9"); len(none) != 0 {
		t.Error(none)
	}
}

func TestImmutable(t *testing.T) {
	s, c := newServer(t, githubtest.Options{Immutable: true})
	path, upload := c.draft("v1")
	asset := c.must(201, "POST", upload+"?name=a", "x")
	c.must(200, "PATCH", path, object{"body": "a draft can change"})
	if published := c.must(200, "PATCH", path, object{"draft": false}); published["immutable"] != true {
		t.Error(published["immutable"])
	}
	c.must(422, "POST", upload+"?name=b", "x")
	c.must(422, "DELETE", fmt.Sprintf("/releases/assets/%.0f", asset["id"]), nil)
	c.must(422, "PATCH", fmt.Sprintf("/releases/assets/%.0f", asset["id"]), object{"name": "b"})
	c.must(422, "PATCH", path, object{"draft": true})
	c.must(422, "DELETE", path, nil)
	c.must(422, "DELETE", "/git/refs/tags/v1", nil)
	if all := s.Releases(); len(all) != 1 || !all[0].Immutable || len(all[0].Assets) != 1 {
		t.Errorf("%+v", all)
	}
}

func TestRateLimit(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	_, c := newServer(t, githubtest.Options{RateLimit: 2, Now: func() time.Time { return now }})
	c.must(200, "GET", "", nil)
	resp, _ := c.do("GET", "", nil)
	if resp.Header.Get("X-RateLimit-Remaining") != "0" || resp.Header.Get("X-RateLimit-Reset") != fmt.Sprint(now.Add(time.Hour).Unix()) {
		t.Error(resp.Header)
	}
	resp, answer := c.do("GET", "", nil)
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(fmt.Sprint(answer["message"]), "rate limit exceeded") || resp.Header.Get("X-RateLimit-Remaining") != "0" {
		t.Error(resp.Status, answer)
	}
	now = now.Add(time.Hour)
	c.must(200, "GET", "", nil)
}
