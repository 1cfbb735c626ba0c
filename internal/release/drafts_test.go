package release_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/release"
)

// TestAdopts has the second cell on a draft of its own, as after a race whose
// loser was killed. Whoever comes next brings the two together, and a person's
// own draft of the same tag is nobody's business.
func TestAdopts(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	builds := twoCells(t)
	publish(t, request(t, server, builds[0]))
	first := one(t, server)
	second := create(t, server, "v1.0.0", first.Name, first.Body, true)
	theirs := create(t, server, "v1.0.0", "v1.0.0", "My own words.", true)
	astray := request(t, server, builds[1])
	astray.ReleaseID = second
	publish(t, astray)

	said := &log{}
	outcome, err := release.Publish(t.Context(), release.Request{Client: client(t, server, nil), Tag: "v1.0.0"}, said)
	if err != nil || !outcome.Closed || outcome.ReleaseID != first.ID || !said.has("is on another draft") {
		t.Errorf("%+v, %v, %q", outcome, err, said.lines)
	}
	all := server.Releases()
	if len(all) != 2 || all[0].ID != first.ID || all[0].Draft || all[1].ID != theirs || all[1].Body != "My own words." {
		t.Errorf("%+v", all)
	}
	if err := client(t, server, nil).DeleteRelease(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if err := intact(server, "v1.0.0", builds...); err != nil {
		t.Error(err)
	}
}

// TestKeepsWhatIsNowhereElse leaves a superfluous draft alone that holds
// something that the right one has not.
func TestKeepsWhatIsNowhereElse(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	builds := twoCells(t)
	publish(t, request(t, server, builds[0]))
	first := one(t, server)
	c := client(t, server, nil)
	second, err := c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1.0.0", Name: first.Name, Body: first.Body, Draft: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Upload(t.Context(), second.UploadURL, github.File{Name: "by-hand.txt", SizeBytes: 2, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("hi")), nil }}); err != nil {
		t.Fatal(err)
	}
	if !publish(t, request(t, server, builds[1])).Closed {
		t.Error("not closed")
	}
	all := server.Releases()
	if len(all) != 2 || len(all[1].Assets) != 1 || all[1].Assets[0].Name != "by-hand.txt" {
		t.Errorf("%+v", all)
	}
}

// old is a server that does not say digests, as GitHub Enterprise did not for
// long.
type old struct{ next http.RoundTripper }

var digests = regexp.MustCompile(`"digest":"sha256:[0-9a-f]*"`)

func (o old) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := o.next.RoundTrip(r)
	if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return resp, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	body = digests.ReplaceAll(body, []byte(`"digest":null`))
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, nil
}

func TestServerWithoutDigests(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	s := spec{name: "golden", version: "1.0.0", built: refs("golden", "libvirt", "vmware"), catalog: true, pages: "gh-pages"}
	build := load(t, s)
	for i := range 2 {
		r := request(t, server, build)
		r.Client = client(t, server, old{transport()})
		if outcome := publish(t, r); !outcome.Closed || i == 1 && len(outcome.Uploaded) > 0 {
			t.Errorf("%+v", outcome)
		}
		if err := intact(server, "v1.0.0", build); err != nil {
			t.Error(err)
		}
	}
	same := s
	same.content = " " // of the same size in nothing
	r := request(t, server, load(t, same))
	r.Client = client(t, server, old{transport()})
	if _, err := release.Publish(t.Context(), r, quiet(t)); err == nil {
		t.Error("other bytes were taken")
	}
}

// TestTwoTagsAtOnce has both releases' versions end up in the one catalog.
func TestTwoTagsAtOnce(t *testing.T) {
	for range 5 {
		server := githubtest.New(t, githubtest.Options{})
		var wg sync.WaitGroup
		versions := []string{"1.0.0", "1.1.0", "2.0.0"}
		for _, version := range versions {
			r := request(t, server, load(t, spec{name: "golden", version: version, built: refs("golden", "libvirt"), catalog: true, pages: "gh-pages"}))
			r.Tag = "v" + version
			wg.Go(func() {
				if outcome, err := release.Publish(context.WithoutCancel(t.Context()), r, quiet(t)); err != nil || !outcome.Closed {
					t.Errorf("%+v, %v", outcome, err)
				}
			})
		}
		wg.Wait()
		catalog := server.Files("gh-pages")["vagrant/golden.json"]
		for _, version := range versions {
			if !strings.Contains(catalog, fmt.Sprintf(`"version": %q`, version)) {
				t.Errorf("no %s in %s", version, catalog)
			}
		}
	}
}

// remover is a transport that removes an asset as soon as it is uploaded.
type remover struct {
	next   http.RoundTripper
	client *github.Client
	times  int
}

func (r *remover) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil || req.Method != http.MethodPost || resp.StatusCode != http.StatusCreated || !strings.HasSuffix(req.URL.Query().Get("name"), ".box") || r.times == 0 {
		return resp, err
	}
	r.times--
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	var asset struct{ ID int64 }
	if err := json.Unmarshal(text, &asset); err != nil {
		return nil, err
	}
	return resp, r.client.DeleteAsset(req.Context(), asset.ID)
}

// TestAssetGoesAway has somebody else remove what was just uploaded: another
// job that found this draft to be one too many, say. It is uploaded again, and
// not for ever.
func TestAssetGoesAway(t *testing.T) {
	for _, times := range []int{2, -1} {
		server := githubtest.New(t, githubtest.Options{})
		build := twoCells(t)[0]
		r := request(t, server, build)
		r.Client = client(t, server, &remover{next: transport(), client: client(t, server, nil), times: times})
		said := &log{}
		_, err := release.Publish(t.Context(), r, said)
		switch {
		case !said.has("not there whole any more; once more"):
			t.Errorf("%d times: said %q", times, said.lines)
		case times > 0 && err != nil:
			t.Error(err)
		case times < 0 && (err == nil || !strings.Contains(err.Error(), "run the job again")):
			t.Errorf("for ever: %v", err)
		}
		if times > 0 {
			if boxes := regexp.MustCompile(`\.box\b`).FindAllString(fmt.Sprint(one(t, server).Assets), -1); len(boxes) == 0 {
				t.Error("the box is not there")
			}
		}
	}
}
