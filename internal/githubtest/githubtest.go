// Package githubtest is a GitHub that runs on loopback for tests: releases,
// their assets, the Git data API, downloads and a Pages site, with the habits
// of the real one that break naive clients. Drafts show only to those who may
// push, and late; one tag may have several; names are sanitised; a broken upload leaves a
// "starter" asset behind; published releases can be immutable.
//
//	server := githubtest.New(t, githubtest.Options{})
//	server.Fail(githubtest.Fault{Method: "POST", Path: "/assets$", Effect: githubtest.BrokenUpload})
//	client := NewClient(server.APIURL(), server.Token(githubtest.Write))
//	...
//	for _, release := range server.Releases() { ... }
//
// Every request and every answer is checked against GitHub's published
// OpenAPI description; what it does not allow fails the test. The server refuses
// GraphQL but for one query, uploads without a length, and all that it has no rule for.
//
// Only tests use it. It does not import package testing, so that a program
// that drives containers in a test can serve it too.
package githubtest

import (
	"cmp"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// T is what a server needs of a *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// Options say what the repository is like. The zero value is a public
// repository octo/images with one commit, an immediate list and no faults.
type Options struct {
	Repository    string // "owner/name"; octo/images unless set
	DefaultBranch string // main unless set
	PagesBranch   string // gh-pages unless set: what PagesURL serves
	Private       bool   // then nothing is seen without a token

	// Immutable says that a release cannot change once it is published.
	Immutable bool
	// Lag hides fresh releases from the list.
	Lag Lag
	// Chaos breaks a part of all requests.
	Chaos Chaos
	// RateLimit is how many requests a token has an hour; zero means no limit.
	RateLimit int
	// WorkflowChange is the status, 403 or 404, that a job's token gets for a
	// release whose commit changes workflow files; zero means that it does not.
	WorkflowChange int
	// MaxAssetBytes is the size that an asset must stay under; 2 GiB unless set.
	MaxAssetBytes int64
	// MaxAssets is how many assets a release can have; 1,000 unless set.
	MaxAssets int
	// KeepBytes is the size up to which content is kept for downloads; of
	// larger assets only size and digest are. 64 MiB unless set.
	KeepBytes int64
	// Address to listen on, for containers that share the host's network;
	// a free port of 127.0.0.1 unless set.
	Address string
	// Now is the server's clock; time.Now unless set.
	Now func() time.Time
	// TrustResponses saves the check of our own answers, for long races.
	TrustResponses bool
}

// Lag is how long a fresh release is missing from the list: until it has been
// asked for Calls times since, and Time has passed since. With a Seed each
// release draws its own number of calls, from zero to Calls.
type Lag struct {
	Calls int
	Time  time.Duration
	Seed  string
}

// Server is the running server. It is safe for concurrent use.
type Server struct {
	t     T
	opts  Options
	owner string
	name  string
	http  *httptest.Server
	spec  *description
	dir   string
	done  chan struct{} // closed when the test ends, so that nothing hangs on

	mu         sync.Mutex
	changed    chan struct{} // closed, and made anew, when something has happened
	calls      []Call
	scripts    []*script
	rows       map[string]int // of chaos's faults, by who asks for what
	violations []string
	nextID     int64
	releases   map[int64]*release
	assets     map[int64]*asset
	blobs      map[string]*asset // by the last part of the URL that serves them
	latest     int64
	lists      int // list calls so far
	hour       time.Time
	used       map[Access]int
	git        *repository
}

// New starts a server that ends with the test.
func New(t T, opts Options) *Server {
	t.Helper()
	opts.Repository = cmp.Or(opts.Repository, "octo/images")
	opts.DefaultBranch = cmp.Or(opts.DefaultBranch, "main")
	opts.PagesBranch = cmp.Or(opts.PagesBranch, "gh-pages")
	opts.MaxAssetBytes = cmp.Or(opts.MaxAssetBytes, 2<<30)
	opts.MaxAssets = cmp.Or(opts.MaxAssets, 1000)
	opts.KeepBytes = cmp.Or(opts.KeepBytes, 64<<20)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	spec, err := load()
	if err != nil {
		t.Fatalf("%v", err)
	}
	s := &Server{
		t: t, opts: opts, spec: spec, dir: t.TempDir(), done: make(chan struct{}), changed: make(chan struct{}), nextID: 1000,
		releases: map[int64]*release{}, assets: map[int64]*asset{}, blobs: map[string]*asset{}, used: map[Access]int{}, rows: map[string]int{},
	}
	s.owner, s.name, _ = strings.Cut(opts.Repository, "/")
	s.git = newRepository()
	s.git.commitFiles("refs/heads/"+opts.DefaultBranch, map[string]string{"README.md": "# " + s.name + "\n"}, "Begin", opts.Now())
	s.http = httptest.NewUnstartedServer(s.handler())
	if opts.Address != "" {
		if err := s.listen(opts.Address); err != nil {
			t.Fatalf("%v", err)
		}
	}
	s.http.Start()
	t.Cleanup(s.close)
	return s
}

func (s *Server) close() {
	close(s.done)
	s.http.CloseClientConnections()
	s.http.Close()
}

// URL is the server's root, as https://github.com is GitHub's.
func (s *Server) URL() string { return s.http.URL }

// APIURL is the root of the API, as on a GitHub Enterprise Server.
func (s *Server) APIURL() string { return s.http.URL + "/api/v3" }

// PagesURL is the root of the repository's site.
func (s *Server) PagesURL() string { return s.http.URL + "/pages/" + s.opts.Repository }

// RawURL is where a branch's files are served as plain text.
func (s *Server) RawURL(branch string) string {
	return s.http.URL + "/raw/" + s.opts.Repository + "/" + branch
}

// Repository is "owner/name".
func (s *Server) Repository() string { return s.opts.Repository }
