package release_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/release"
)

// TestWithdraw: a cancelled cell takes its own assets back, and the draft with
// them when nobody else has put anything there.
func TestWithdraw(t *testing.T) {
	all := refs("golden", "libvirt", "vmware")
	first := load(t, spec{name: "golden", version: "1.0.0", template: all, built: all[:1]})
	second := load(t, spec{name: "golden", version: "1.0.0", template: all, built: all[1:]})
	withdraw := func(t *testing.T, server *githubtest.Server, cells []release.Ref) {
		t.Helper()
		for range 2 { // doing it twice is harmless
			err := release.Withdraw(t.Context(), release.Request{Client: client(t, server, nil), Tag: "v1.0.0"}, cells, "1.0.0", quiet(t))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("alone", func(t *testing.T) {
		server := githubtest.New(t, githubtest.Options{})
		publish(t, request(t, server, first))
		withdraw(t, server, all[:1])
		if left := server.Releases(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	})
	t.Run("nothing there", func(t *testing.T) {
		server := githubtest.New(t, githubtest.Options{})
		withdraw(t, server, all)
		if left := server.Releases(); len(left) != 0 {
			t.Errorf("made: %+v", left)
		}
	})
	t.Run("beside another cell", func(t *testing.T) {
		server := githubtest.New(t, githubtest.Options{})
		publish(t, request(t, server, first))
		withdraw(t, server, all[1:])
		draft := one(t, server)
		for _, a := range draft.Assets {
			if !strings.Contains(a.Name, "-libvirt-") {
				t.Errorf("%s is left", a.Name)
			}
		}
		// The other cell goes on as if nothing had been.
		publish(t, request(t, server, second))
		if err := intact(server, "v1.0.0", first, second); err != nil {
			t.Error(err)
		}
	})
	t.Run("in a person's draft", func(t *testing.T) {
		server := githubtest.New(t, githubtest.Options{})
		create(t, server, "v1.0.0", "Big one", "What is new", true)
		publish(t, request(t, server, first))
		withdraw(t, server, all[:1])
		if draft := one(t, server); draft.Body == "" || len(draft.Assets) != 0 {
			t.Errorf("%+v", draft)
		}
	})
	t.Run("published", func(t *testing.T) {
		server := githubtest.New(t, githubtest.Options{})
		publish(t, request(t, server, first, second))
		before := len(one(t, server).Assets)
		withdraw(t, server, all)
		if after := one(t, server); after.Draft || len(after.Assets) != before {
			t.Errorf("%d assets of %d are left", len(after.Assets), before)
		}
	})
}

// TestWithdrawFailing: whichever call fails, the next try finishes.
func TestWithdrawFailing(t *testing.T) {
	cells := refs("golden", "libvirt")
	build := load(t, spec{name: "golden", version: "1.0.0", template: refs("golden", "libvirt", "vmware"), built: cells})
	for n := 1; ; n++ {
		server := githubtest.New(t, githubtest.Options{TrustResponses: true})
		publish(t, request(t, server, build))
		gate := &failing{n: n}
		err := release.Withdraw(t.Context(), release.Request{Client: client(t, server, gate), Tag: "v1.0.0"}, cells, "1.0.0", quiet(t))
		if gate.calls < n {
			if err != nil || n < 5 {
				t.Errorf("after %d calls: %v", gate.calls, err)
			}
			return
		}
		if err == nil {
			t.Errorf("call %d failed and nobody says so", n)
		}
		if err := release.Withdraw(t.Context(), release.Request{Client: client(t, server, nil), Tag: "v1.0.0"}, cells, "1.0.0", quiet(t)); err != nil {
			t.Errorf("after call %d had failed: %v", n, err)
		}
		if left := server.Releases(); len(left) != 0 {
			t.Errorf("after call %d had failed: %+v", n, left)
		}
	}
}

// failing refuses everything from call n on.
type failing struct{ n, calls int }

func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.calls++; f.calls >= f.n {
		return nil, errors.New("the cable is cut")
	}
	return shared.RoundTrip(r)
}

func TestLatest(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	if tag, cells, err := release.Latest(t.Context(), client(t, server, nil)); tag != "" || len(cells) != 0 || err != nil {
		t.Errorf("%s, %v, %v", tag, cells, err)
	}
	all := refs("golden", "libvirt", "vmware")
	build := load(t, spec{name: "golden", version: "1.0.0", built: all})
	publish(t, request(t, server, build))
	tag, cells, err := release.Latest(context.Background(), client(t, server, nil))
	if err != nil || tag != "v1.0.0" || len(cells) != 2 {
		t.Fatalf("%s, %v, %v", tag, cells, err)
	}
	for i, c := range cells {
		if c.Ref != all[i] || c.CellDigest != build.Cells[i].CellDigest {
			t.Errorf("%+v", c)
		}
	}
}
