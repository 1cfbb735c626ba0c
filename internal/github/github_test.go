package github_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/githubtest"
)

// clock is a clock that moves only when somebody sleeps.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{now: time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

// connect makes a client of a server, sharing a clock with it.
func connect(t *testing.T, s *githubtest.Server, time *clock, change func(*github.Options)) *github.Client {
	t.Helper()
	opts := github.Options{
		Token: s.Token(githubtest.Write), APIURL: s.APIURL(), ServerURL: s.URL(), Repository: s.Repository(), JitterSeed: t.Name(),
		Now: time.Now, Sleep: time.Sleep,
	}
	if change != nil {
		change(&opts)
	}
	c, err := github.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func file(name, content string) github.File {
	return github.File{Name: name, SizeBytes: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

func TestReleaseFromDraftToLatest(t *testing.T) {
	clock := newClock()
	s := githubtest.New(t, githubtest.Options{Now: clock.Now})
	c := connect(t, s, clock, nil)
	draft, err := c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1.0.0", Name: "1.0.0", Body: "one", Draft: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReleaseByTag(t.Context(), "v1.0.0"); !github.IsNotFound(err) {
		t.Errorf("a draft by its tag: %v", err)
	}
	content := strings.Repeat("hello ", 10_000)
	var sent int64
	upload := file("golden.box", content)
	upload.Progress = func(n int64) { sent = n }
	asset, err := c.Upload(t.Context(), draft.UploadURL, upload)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(content))
	if want := "sha256:" + hex.EncodeToString(digest[:]); asset.Digest != want || asset.SizeBytes != 60_000 || sent != 60_000 || asset.State != github.Uploaded {
		t.Errorf("%+v, %d sent", asset, sent)
	}
	var got bytes.Buffer
	if err := c.Download(t.Context(), *asset, &got); err != nil || got.String() != content {
		t.Errorf("%d bytes: %v", got.Len(), err)
	}
	publish := false
	release, err := c.UpdateRelease(t.Context(), draft.ID, github.ReleaseChange{Draft: &publish})
	if err != nil {
		t.Fatal(err)
	}
	if release.Draft || release.PublishedAt.IsZero() || len(release.Assets) != 1 || release.Assets[0].DownloadURL != c.DownloadURL("v1.0.0", "golden.box") {
		t.Errorf("%+v", release)
	}
	latest, err := c.LatestRelease(t.Context())
	if err != nil || latest.ID != draft.ID {
		t.Errorf("%+v %v", latest, err)
	}
	all, err := c.Releases(t.Context())
	if err != nil || len(all) != 1 {
		t.Errorf("%+v %v", all, err)
	}
	if err := c.DeleteAsset(t.Context(), asset.ID); err != nil {
		t.Error(err)
	}
	if err := c.DeleteAsset(t.Context(), asset.ID); err != nil {
		t.Error("deleting again:", err)
	}
	if err := c.DeleteRelease(t.Context(), draft.ID); err != nil {
		t.Error(err)
	}
	if left := s.Releases(); len(left) != 0 {
		t.Errorf("%+v", left)
	}
}

func TestCommitFile(t *testing.T) {
	clock := newClock()
	s := githubtest.New(t, githubtest.Options{Now: clock.Now})
	c := connect(t, s, clock, nil)
	first, err := c.CommitFile(t.Context(), "gh-pages", "boxes/golden.json", []byte("{}\n"), "Catalog of 1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if files := s.Files("gh-pages"); len(files) != 1 || files["boxes/golden.json"] != "{}\n" {
		t.Error(files)
	}
	again, err := c.CommitFile(t.Context(), "gh-pages", "boxes/golden.json", []byte("{}\n"), "Catalog of 1.0.0")
	if err != nil || again != first || len(s.Log("gh-pages")) != 1 {
		t.Error(again, err)
	}
	s.Commit("gh-pages", map[string]string{"index.html": "hello"})
	if _, err := c.CommitFile(t.Context(), "gh-pages", "boxes/golden.json", []byte("\xff{1}\n"), "Catalog of 2.0.0"); err != nil {
		t.Fatal(err)
	}
	if files := s.Files("gh-pages"); len(files) != 2 || files["boxes/golden.json"] != "\xff{1}\n" || files["index.html"] != "hello" || len(s.Log("gh-pages")) != 3 {
		t.Error(files)
	}
	content, err := c.ReadFile(t.Context(), "gh-pages", "boxes/golden.json")
	if err != nil || string(content) != "\xff{1}\n" {
		t.Errorf("%q %v", content, err)
	}
	if _, err := c.ReadFile(t.Context(), "gh-pages", "nothing"); !github.IsNotFound(err) {
		t.Error(err)
	}
}
