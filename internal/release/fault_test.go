package release_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/release"
	"github.com/org/imagebuild-action/internal/testkit"
)

// twoCells are the builds of the tests below: the second one closes.
func twoCells(t *testing.T) []*release.Build {
	all := refs("golden", "libvirt", "vmware")
	var builds []*release.Build
	for i := range all {
		builds = append(builds, load(t, spec{name: "golden", version: "1.0.0", template: all, built: all[i : i+1], catalog: true, pages: "gh-pages"}))
	}
	return builds
}

// calls counts the requests that the second cell makes when nothing goes wrong.
func callsOf(t *testing.T, builds []*release.Build) int {
	server := githubtest.New(t, githubtest.Options{})
	publish(t, request(t, server, builds[0]))
	before := len(server.Calls())
	if !publish(t, request(t, server, builds[1])).Closed {
		t.Fatal("not closed")
	}
	return len(server.Calls()) - before
}

// TestEveryCallFails has each request in turn be answered by a refusal that no
// retry mends, with and without having taken effect. The next try completes the
// release, and nothing was ever published that is not whole.
func TestEveryCallFails(t *testing.T) {
	builds := twoCells(t)
	n := callsOf(t, builds)
	faults := map[string]githubtest.Fault{
		"refused":               {Effect: githubtest.Status, Status: 451},
		"done, then refused":    {Effect: githubtest.Status, Status: 451, After: true},
		"reset":                 {Effect: githubtest.Reset},
		"done, then reset":      {Effect: githubtest.Reset, After: true},
		"broken, many times":    {Effect: githubtest.Status, Status: 503, Times: 40},
		"the limit, many times": {Effect: githubtest.SecondaryLimit, Times: 40},
	}
	if testkit.Depth(true, false, false) {
		maps.DeleteFunc(faults, func(name string, _ githubtest.Fault) bool {
			return name != "done, then refused" && name != "the limit, many times"
		})
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for i := 1; i <= n; i++ {
				server := githubtest.New(t, githubtest.Options{Immutable: i%2 == 0, TrustResponses: true})
				publish(t, request(t, server, builds[0]))
				f.Nth = i
				server.Fail(f)
				_, err := release.Publish(t.Context(), request(t, server, builds[1]), quiet(t))
				if err != nil {
					failed++
					if kind := fault.KindOf(err); kind != fault.Remote && kind != fault.Input {
						t.Errorf("call %d: %s: %v", i, kind, err)
					}
				}
				for _, r := range server.Releases() {
					if !r.Draft {
						if err := intact(server, "v1.0.0", builds...); err != nil {
							t.Errorf("call %d: published, and not whole: %v", i, err)
						}
					}
				}
				server.Heal()
				again, err := release.Publish(t.Context(), request(t, server, builds[1]), quiet(t))
				if err != nil || !again.Closed {
					t.Errorf("call %d, tried again: %+v, %v", i, again, err)
				}
				if err := intact(server, "v1.0.0", builds...); err != nil {
					t.Errorf("call %d, tried again: %v", i, err)
				}
				if server.Files("gh-pages")["vagrant/golden.json"] == "" {
					t.Errorf("call %d, tried again: no catalog is served", i)
				}
			}
			t.Logf("%d calls, %d of them could be mended", n, n-failed)
		})
	}
}

// TestEveryCallCancels ends the context at each request in turn.
func TestEveryCallCancels(t *testing.T) {
	builds := twoCells(t)
	n := callsOf(t, builds)
	for i := range n {
		server := githubtest.New(t, githubtest.Options{Immutable: i%2 == 0, TrustResponses: true})
		publish(t, request(t, server, builds[0]))
		ctx, cancel := context.WithCancel(t.Context())
		m := &mortal{next: transport(), kill: cancel}
		m.left.Store(int64(i))
		r := request(t, server, builds[1])
		r.Client = client(t, server, m)
		if _, err := release.Publish(ctx, r, quiet(t)); err == nil || !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled {
			t.Errorf("call %d: %s: %v", i, fault.KindOf(err), err)
		}
		cancel()
		for _, r := range server.Releases() {
			if !r.Draft {
				if err := intact(server, "v1.0.0", builds...); err != nil {
					t.Errorf("call %d: published, and not whole: %v", i, err)
				}
			}
		}
		if outcome := publish(t, request(t, server, builds[1])); !outcome.Closed {
			t.Errorf("call %d, tried again: %+v", i, outcome)
		}
		if err := intact(server, "v1.0.0", builds...); err != nil {
			t.Errorf("call %d, tried again: %v", i, err)
		}
	}
}
