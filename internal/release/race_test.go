package release_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/release"
	"github.com/org/imagebuild-action/internal/testkit"
)

// mishaps are what GitHub does to requests in the race.
func mishaps() []githubtest.Fault {
	return []githubtest.Fault{
		{Effect: githubtest.AlreadyExists},
		{Effect: githubtest.SecondaryLimit},
		{Effect: githubtest.SecondaryLimit, RetryAfter: "1"},
		{Effect: githubtest.TooMany, RetryAfter: "1"},
		{Effect: githubtest.BrokenUpload},
		{Effect: githubtest.BrokenUpload},
		{Effect: githubtest.Reset},
		{Effect: githubtest.Reset, After: true},
		{Effect: githubtest.Status, Status: 502},
		{Effect: githubtest.Status, Status: 502, After: true},
		{Effect: githubtest.Status, Status: 500},
	}
}

// mortal is a transport that dies with its job after some requests.
type mortal struct {
	next http.RoundTripper
	left atomic.Int64
	kill context.CancelFunc
}

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.left.Add(-1) < 0 {
		m.kill()
	}
	return m.next.RoundTrip(r)
}

// TestRace lets twelve cells publish to one tag at once while GitHub does its
// worst and one job is killed and started again. In the end there is one
// release, published, with everything on it once.
func TestRace(t *testing.T) {
	seeds := testkit.Depth(5, 60, 200)
	cells := refs("golden", "aws", "libvirt", "libvirt-big", "virtualbox", "vmware", "vsphere", "aws/arm64", "libvirt/arm64", "libvirt-big/arm64", "virtualbox/arm64", "vmware/arm64", "vsphere/arm64")
	var builds []*release.Build
	for _, cell := range cells {
		builds = append(builds, load(t, spec{name: "golden", version: "1.0.0", template: cells, built: []release.Ref{cell}, catalog: true, pages: "gh-pages"}))
	}
	var drafts, faults, calls int
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			name := fmt.Sprintf("race %d", seed)
			server := githubtest.New(t, githubtest.Options{
				Lag:            githubtest.Lag{Calls: 6, Seed: name},
				Chaos:          githubtest.Chaos{Seed: name, OneIn: 12, Row: 3, Faults: mishaps()},
				Immutable:      seed%2 == 1,
				TrustResponses: true,
			})
			race(t, server, builds, seed)
			if err := intact(server, "v1.0.0", builds...); err != nil {
				t.Errorf("%v", err)
			}
			if catalog := server.Files("gh-pages")["vagrant/golden.json"]; catalog == "" {
				t.Error("there is no catalog on the Pages branch")
			}
			drafts += server.Count("POST", "/releases$")
			calls += len(server.Calls())
			for _, c := range server.Calls() {
				if c.Fault != "" {
					faults++
				}
			}
		})
	}
	t.Logf("%d seeds: %d calls, %d of them went wrong on purpose; %d drafts were asked for", seeds, calls, faults, drafts)
}

func race(t *testing.T, server *githubtest.Server, builds []*release.Build, seed int) {
	var wg sync.WaitGroup
	closed := make([]bool, len(builds))
	errs := make([]error, len(builds))
	for i, build := range builds {
		wg.Go(func() {
			job := &release.Job{Index: i, Total: len(builds), Key: "images.yml build"}
			run := func(ctx context.Context, transport http.RoundTripper) error {
				r := request(t, server, build)
				r.Client, r.Job = client(t, server, transport), job
				outcome, err := release.Publish(ctx, r, quiet(t))
				closed[i] = outcome.Closed
				return err
			}
			if i == seed%len(builds) {
				ctx, kill := context.WithCancel(t.Context())
				m := &mortal{next: transport(), kill: kill}
				m.left.Store(int64(seed * 7 % 40))
				if err := run(ctx, m); err != nil && !errors.Is(err, context.Canceled) {
					errs[i] = err
					return
				}
				kill()
			}
			errs[i] = run(t.Context(), nil)
		})
	}
	wg.Wait()
	one := false
	for i, err := range errs {
		if err != nil {
			t.Errorf("cell %d: %v", i, err)
		}
		one = one || closed[i]
	}
	if !one {
		t.Error("no cell closed the release")
	}
}
