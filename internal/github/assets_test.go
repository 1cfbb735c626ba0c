package github_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/githubtest"
)

// draft makes a server, a client and a draft to upload to.
func draft(t *testing.T, opts githubtest.Options, change func(*github.Options)) (*githubtest.Server, *github.Client, *github.Release) {
	t.Helper()
	clock := newClock()
	opts.Now = clock.Now
	s := githubtest.New(t, opts)
	c := connect(t, s, clock, change)
	release, err := c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1.0.0", Draft: true})
	if err != nil {
		t.Fatal(err)
	}
	return s, c, release
}

func TestUploadsThatFail(t *testing.T) {
	const stall = 800 * time.Millisecond
	content := strings.Repeat("x", 8<<20) // more than the sockets take
	tests := []struct {
		name    string
		fault   githubtest.Fault
		says    string
		unknown bool
		exists  bool
		left    string // the state of what is there after it
	}{
		{"hang", githubtest.Fault{Effect: githubtest.Hang}, "the transfer stalled: no byte for 800ms", true, false, ""},
		{"hang after the last byte", githubtest.Fault{Effect: githubtest.Hang, After: true}, "the transfer stalled", true, false, github.Uploaded},
		{"half-way", githubtest.Fault{Effect: githubtest.BrokenUpload}, "502 Server Error", true, false, github.Starter},
		{"reset", githubtest.Fault{Effect: githubtest.Reset}, "", true, false, ""},
		{"reset after", githubtest.Fault{Effect: githubtest.Reset, After: true}, "", true, false, github.Uploaded},
		{"already there", githubtest.Fault{Effect: githubtest.AlreadyExists}, "422 Validation Failed: name already_exists", false, true, ""},
		{"somebody was faster", githubtest.Fault{Effect: githubtest.AlreadyExists, After: true}, "already_exists", false, true, github.Uploaded},
		{"limit", githubtest.Fault{Effect: githubtest.SecondaryLimit, RetryAfter: "7"}, "the rate limit ends at 2026-10-01T12:00:07Z", false, false, ""},
		{"429", githubtest.Fault{Effect: githubtest.TooMany}, "the rate limit ends at 2026-10-01T12:01:00Z", false, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, c, release := draft(t, githubtest.Options{}, func(o *github.Options) {
				if test.fault.Effect == githubtest.Hang {
					o.StallTime = stall
				}
			})
			test.fault.Path = "/assets$"
			s.Fail(test.fault)
			asset, err := c.Upload(t.Context(), release.UploadURL, file("golden.box", content))
			if err == nil || asset != nil {
				t.Fatal(asset)
			}
			if !strings.Contains(err.Error(), test.says) || !strings.HasPrefix(err.Error(), "upload golden.box: POST "+s.URL()+"/api/uploads/") {
				t.Error(err)
			}
			if github.OutcomeUnknown(err) != test.unknown || github.AlreadyExists(err) != test.exists || fault.KindOf(err) != fault.Remote {
				t.Errorf("%v: unknown %t, exists %t, kind %s", err, github.OutcomeUnknown(err), github.AlreadyExists(err), fault.KindOf(err))
			}
			if github.Temporary(err) == test.exists {
				t.Error("temporary:", github.Temporary(err))
			}
			if posts := s.Count("POST", "/assets$"); posts != 1 {
				t.Errorf("%d posts", posts)
			}
			assets, err := c.Assets(t.Context(), release.ID)
			if err != nil {
				t.Fatal(err)
			}
			if test.left == "" && len(assets) != 0 || test.left != "" && (len(assets) != 1 || assets[0].State != test.left) {
				t.Errorf("%+v", assets)
			}
			for _, each := range assets {
				if err := c.DeleteAsset(t.Context(), each.ID); err != nil {
					t.Error(err)
				}
			}
			if _, err := c.Upload(t.Context(), release.UploadURL, file("golden.box", content)); err != nil {
				t.Error("the next attempt:", err)
			}
		})
	}
}

// Long is not stalled: as long as bytes move, nothing ends the transfer.
func TestSlowUploadIsNotStalled(t *testing.T) {
	_, c, release := draft(t, githubtest.Options{}, func(o *github.Options) { o.StallTime = 600 * time.Millisecond })
	slow := file("golden.box", strings.Repeat("x", 10))
	slow.Open = func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			ticker := time.NewTicker(80 * time.Millisecond)
			defer ticker.Stop()
			for range 10 {
				<-ticker.C
				if _, err := w.Write([]byte("x")); err != nil {
					return
				}
			}
			w.Close()
		}()
		return r, nil
	}
	if asset, err := c.Upload(t.Context(), release.UploadURL, slow); err != nil || asset.SizeBytes != 10 {
		t.Error(asset, err)
	}
}

// A file that stops giving bytes is a stall too, although net/http waits for it.
func TestSourceThatHangs(t *testing.T) {
	_, c, release := draft(t, githubtest.Options{}, func(o *github.Options) { o.StallTime = 50 * time.Millisecond })
	hanging := file("golden.box", strings.Repeat("x", 10))
	hanging.Open = func() (io.ReadCloser, error) {
		r, _ := io.Pipe()
		return r, nil
	}
	if _, err := c.Upload(t.Context(), release.UploadURL, hanging); !errors.Is(err, github.ErrStalled) || !github.Temporary(err) {
		t.Error(err)
	}
}

func TestLocalFaultsOfUploads(t *testing.T) {
	s, c, release := draft(t, githubtest.Options{}, nil)
	broken := errors.New("input/output error")
	tests := map[string]struct {
		file github.File
		url  string
		says string
		kind fault.Kind
	}{
		"empty":     {file("a", ""), release.UploadURL, "the file is empty, which GitHub refuses", fault.Input},
		"not there": {github.File{Name: "a", SizeBytes: 1, Open: func() (io.ReadCloser, error) { return nil, os.ErrNotExist }}, release.UploadURL, "file does not exist", fault.Environment},
		"unreadable": {github.File{Name: "a", SizeBytes: 1, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(""), iotest{broken})), nil
		}}, release.UploadURL, "input/output error", fault.Environment},
		"no address":    {file("a", "x"), "", "is not one", fault.Remote},
		"other address": {file("a", "x"), "https://uploads.example.com/x{?name}", "no token goes there", fault.Remote},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := c.Upload(t.Context(), test.url, test.file)
			if err == nil || !strings.Contains(err.Error(), test.says) || fault.KindOf(err) != test.kind || github.Temporary(err) {
				t.Errorf("%v, kind %s", err, fault.KindOf(err))
			}
		})
	}
	for _, each := range s.Releases()[0].Assets {
		if each.State == github.Uploaded {
			t.Errorf("%+v", each)
		}
	}
}

type iotest struct{ err error }

func (r iotest) Read([]byte) (int, error) { return 0, r.err }

func TestCancelledUpload(t *testing.T) {
	s, c, release := draft(t, githubtest.Options{}, nil)
	s.Fail(githubtest.Fault{Path: "/assets$", Effect: githubtest.Hang})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = s.Await(ctx, func() bool { return s.Count("POST", "/assets$") == 1 })
		cancel()
	}()
	if _, err := c.Upload(ctx, release.UploadURL, file("a", "x")); fault.KindOf(err) != fault.Cancelled {
		t.Errorf("%v, kind %s", err, fault.KindOf(err))
	}
}

func TestManyPages(t *testing.T) {
	_, c, release := draft(t, githubtest.Options{TrustResponses: true}, nil)
	for i := range 101 {
		if _, err := c.Upload(t.Context(), release.UploadURL, file(fmt.Sprint(i), "x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1", Draft: true}); err != nil {
			t.Fatal(err)
		}
	}
	assets, err := c.Assets(t.Context(), release.ID)
	if err != nil || len(assets) != 101 {
		t.Errorf("%d assets, %v", len(assets), err)
	}
	releases, err := c.Releases(t.Context())
	if err != nil || len(releases) != 102 {
		t.Errorf("%d releases, %v", len(releases), err)
	}
}

func TestDownloadsThatFail(t *testing.T) {
	_, c, release := draft(t, githubtest.Options{}, nil)
	asset, err := c.Upload(t.Context(), release.UploadURL, file("cell.json", "{}"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.ReadAsset(t.Context(), *asset, 2); err != nil || string(got) != "{}" {
		t.Error(got, err)
	}
	for name, change := range map[string]func(*github.Asset){
		"got 2 bytes":      func(a *github.Asset) { a.Digest = "sha256:00" },
		"the asset has 1,": func(a *github.Asset) { a.SizeBytes = 1 },
		"404":              func(a *github.Asset) { a.ID++ },
	} {
		other := *asset
		change(&other)
		if err := c.Download(t.Context(), other, io.Discard); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.ReadAsset(t.Context(), *asset, 1); err == nil || fault.KindOf(err) != fault.Remote {
		t.Error(err)
	}
	lie := *asset
	lie.SizeBytes = 1
	if _, err := c.ReadAsset(t.Context(), lie, 1); err == nil || !strings.Contains(err.Error(), "more bytes than the asset has") {
		t.Error(err)
	}
	if err := c.Download(t.Context(), *asset, brokenWriter{}); fault.KindOf(err) != fault.Environment {
		t.Error(err, fault.KindOf(err))
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// Storage is asked again, and a stall there is noticed.
func TestStorageFaults(t *testing.T) {
	s, c, release := draft(t, githubtest.Options{}, func(o *github.Options) { o.StallTime = 300 * time.Millisecond })
	asset, err := c.Upload(t.Context(), release.UploadURL, file("cell.json", "{}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []githubtest.Fault{
		{Path: "^/blob/", Effect: githubtest.Status, Status: 503},
		{Path: "^/blob/", Effect: githubtest.Reset},
		{Path: "/releases/assets/", Effect: githubtest.Reset},
		{Path: "^/blob/", Effect: githubtest.Hang},
		{Path: "/releases/assets/", Effect: githubtest.TooMany, RetryAfter: "3"},
	} {
		s.Fail(fault)
		if got, err := c.ReadAsset(t.Context(), *asset, 10); err != nil || !bytes.Equal(got, []byte("{}")) {
			t.Errorf("%+v: %q %v", fault, got, err)
		}
	}
	s.Fail(githubtest.Fault{Path: "^/blob/", Effect: githubtest.Hang, Times: 3})
	if _, err := c.ReadAsset(t.Context(), *asset, 10); !errors.Is(err, github.ErrStalled) {
		t.Error(err)
	}
}
