// Package github talks to one repository at GitHub: its releases, their
// assets, and single files on a branch.
//
//	client, err := github.New(github.Options{Token: token, Repository: "octo/images", JitterSeed: "amd64"})
//	release, err := client.CreateRelease(ctx, github.NewRelease{Tag: "v1.0.0", Draft: true})
//	asset, err := client.Upload(ctx, release.UploadURL, github.File{Name: "a.box", SizeBytes: n, Open: open})
//
// A call is tried again after a refused connection, a reset, a server error or
// a rate limit, as long as GitHub asks for and within Options' bounds; go-github and go-retryablehttp
// do the work. What must not happen twice, making a release and uploading, is tried
// again only where it certainly had no effect; otherwise the error satisfies
// OutcomeUnknown, and the caller looks before it tries again.
//
// It refuses to send the token anywhere but to the API and the upload address
// that the API names. No error contains it.
package github

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	gogithub "github.com/google/go-github/v60/github"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/retry"
)

// Options say where to and as whom.
type Options struct {
	Token      string // may be empty: a public repository can be read without
	APIURL     string // https://api.github.com unless set
	ServerURL  string // https://github.com unless set
	Repository string // "owner/name"
	UserAgent  string // imagebuild unless set
	// JitterSeed spreads the waits of parallel jobs: give each its own.
	JitterSeed string

	Attempts   int           // of one call in all; 6 unless set
	MaxElapsed time.Duration // of one call with its waits; 10 minutes unless set
	CallTime   time.Duration // that one attempt may take; a minute unless set
	StallTime  time.Duration // without a byte in an upload or download; two minutes unless set

	Transport http.RoundTripper // net/http's own unless set
	Log       *slog.Logger      // says what is tried again, and why; silent unless set
	// Now and Sleep are the clock for waits; the machine's unless set.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Client is safe for concurrent use.
type Client struct {
	opts        Options
	owner, name string
	api         *url.URL
	secrets     redact.Set
	gh          *gogithub.Client
	transfer    *http.Client // for downloads: no limit on the whole, tried again until the first byte
	upload      *http.Client // the same, tried once
}

// New checks the options. It does not connect.
func New(opts Options) (*Client, error) {
	opts.APIURL = strings.TrimSuffix(cmp.Or(opts.APIURL, "https://api.github.com"), "/")
	opts.ServerURL = strings.TrimSuffix(cmp.Or(opts.ServerURL, "https://github.com"), "/")
	opts.UserAgent = cmp.Or(opts.UserAgent, "imagebuild")
	opts.Attempts = cmp.Or(opts.Attempts, 6)
	opts.MaxElapsed = cmp.Or(opts.MaxElapsed, 10*time.Minute)
	opts.CallTime = cmp.Or(opts.CallTime, time.Minute)
	opts.StallTime = cmp.Or(opts.StallTime, 2*time.Minute)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Sleep == nil {
		opts.Sleep = retry.Sleep
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Transport == nil {
		opts.Transport = defaultTransport()
	}
	c := &Client{opts: opts}
	var ok bool
	if c.owner, c.name, ok = strings.Cut(opts.Repository, "/"); !ok || c.owner == "" || c.name == "" || strings.Contains(c.name, "/") {
		return nil, fault.Errorf(fault.Input, "github: the repository %q is not owner/name", opts.Repository)
	}
	if strings.ContainsAny(opts.Token, " \t\r\n") {
		return nil, fault.Errorf(fault.Input, "github: the token contains white space; pass it as it is")
	}
	if err := c.secrets.Add(opts.Token); err != nil {
		return nil, fault.Errorf(fault.Input, "github: the token: %w", err)
	}
	var err error
	if c.api, err = url.Parse(opts.APIURL); err != nil || c.api.Host == "" || c.api.Scheme != "https" && c.api.Scheme != "http" {
		return nil, fault.Errorf(fault.Input, "github: the API's address %q is not an http or https URL", opts.APIURL)
	}
	c.connect()
	return c, nil
}

// Repository is "owner/name".
func (c *Client) Repository() string { return c.opts.Repository }

// DownloadURL is where a published release's asset is found without a token.
func (c *Client) DownloadURL(tag, asset string) string {
	return fmt.Sprintf("%s/%s/releases/download/%s/%s", c.opts.ServerURL, c.opts.Repository, url.PathEscape(tag), url.PathEscape(asset))
}

func (c *Client) connect() {
	retried := func(limit time.Duration) *http.Client {
		return &http.Client{Transport: &outer{client: c, next: &retryablehttp.RoundTripper{Client: &retryablehttp.Client{
			HTTPClient: &http.Client{Transport: c.opts.Transport, CheckRedirect: leaveTokenBehind, Timeout: limit},
			RetryMax:   c.opts.Attempts - 1, CheckRetry: c.checkRetry, Backoff: noBackoff, PrepareRetry: c.prepareRetry,
			ErrorHandler: retryablehttp.PassthroughErrorHandler,
		}}}}
	}
	c.gh = gogithub.NewClient(retried(c.opts.CallTime))
	c.gh.UserAgent = c.opts.UserAgent
	c.gh.BaseURL = c.api.JoinPath("/")
	c.transfer = retried(0)
	c.upload = &http.Client{Transport: &outer{client: c, next: c.opts.Transport}, CheckRedirect: refuseRedirect}
}

// defaultTransport is net/http's with a bound on each step before the answer
// begins; bodies are bounded by CallTime and StallTime.
func defaultTransport() http.RoundTripper {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	transport = transport.Clone()
	transport.TLSHandshakeTimeout = 20 * time.Second
	transport.ExpectContinueTimeout = 5 * time.Second
	return transport
}

// leaveTokenBehind follows a redirect, and takes the token only to the same
// host and port: an asset's bytes are in storage that refuses it.
func leaveTokenBehind(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return fmt.Errorf("stopped after 10 redirects")
	}
	if first := via[0].URL; req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		req.Header.Del("Authorization")
	}
	return nil
}

// refuseRedirect: an upload is answered where it was sent, or not at all.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
