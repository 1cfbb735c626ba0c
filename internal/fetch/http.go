package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/retry"
)

// ErrStalled is a server that sends nothing any more.
var ErrStalled = errors.New("the server has stalled")

// maxRedirects is what browsers follow.
const maxRedirects = 10

// open sends a request. Answers other than 200, 206 and 416 are errors, and
// Permanent ones if asking again cannot help.
func (r Request) open(ctx context.Context, location string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, retry.Permanent(fault.Wrap(fault.Input, plain(err)))
	}
	req.Header = header
	// Its bytes, not what a transport makes of them: the digest is of those.
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "imagebuild")
	resp, err := r.client().Do(req)
	if err != nil {
		return nil, plain(err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return resp, nil
	}
	_ = resp.Body.Close()
	return nil, statusError(resp.StatusCode)
}

func statusError(code int) error {
	what := fmt.Sprintf("the server answers %d %s", code, http.StatusText(code))
	switch {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return fault.Errorf(fault.Remote, "%s", what)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return retry.Permanent(fault.Errorf(fault.Input, "%s; the URL needs rights that it does not carry", what))
	case code >= 400:
		return retry.Permanent(fault.Errorf(fault.Input, "%s; check the URL", what))
	}
	return retry.Permanent(fault.Errorf(fault.Remote, "%s", what))
}

func (r Request) client() *http.Client {
	client := http.Client{}
	if r.Client != nil {
		client = *r.Client
	}
	client.CheckRedirect = checkRedirect
	return &client
}

// checkRedirect lets nobody lead us from a protected line to an open one, or
// out of HTTP.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[len(via)-1].URL.Scheme, req.URL.Scheme
	switch {
	case len(via) >= maxRedirects:
		return retry.Permanent(fault.Errorf(fault.Remote, "the server redirects more than %d times", maxRedirects))
	case to != from && (from != "http" || to != "https"):
		return retry.Permanent(fault.Errorf(fault.Input, "the server redirects from %s to %s, which is refused; use the URL that it leads to, if you trust it", from, to))
	}
	return nil
}

// plain takes off the URL that net/http puts before its errors: it may hold a
// token, and the caller says which file it is about.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		if strings.Contains(u.Err.Error(), "unsupported protocol scheme") {
			return retry.Permanent(fault.Wrap(fault.Input, u.Err))
		}
		return u.Err
	}
	return err
}

// text downloads something small.
func (r Request) text(ctx context.Context, location string, limit int64) (text []byte, err error) {
	err = retry.Do(ctx, r.policy(report.Discard.Begin("")), func(ctx context.Context, _ int) error {
		ctx, w := newWatch(ctx, r.StallLimit)
		defer w.stop()
		resp, err := r.open(ctx, location, http.Header{})
		if err != nil {
			return w.explain(err)
		}
		defer resp.Body.Close()
		body := &watchedReader{r: resp.Body, watch: w, task: report.Discard.Begin("")}
		if text, err = io.ReadAll(io.LimitReader(body, limit+1)); err != nil {
			return w.explain(err)
		}
		if int64(len(text)) > limit {
			return retry.Permanent(tooLarge(limit))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Shown(location), err)
	}
	return text, nil
}

// watch ends a transfer in which nothing moves for a while. How long the whole
// takes is no business of ours.
type watch struct {
	ctx   context.Context //nolint:containedctx // lives for one transfer
	limit time.Duration
	timer *time.Timer
	end   context.CancelCauseFunc
}

func newWatch(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	limit = cmp.Or(limit, DefaultStallLimit)
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{ctx: ctx, limit: limit, end: cancel}
	w.timer = time.AfterFunc(limit, func() {
		cancel(fault.Wrap(fault.Remote, fmt.Errorf("%w: no byte for %s", ErrStalled, limit)))
	})
	return ctx, w
}

func (w *watch) stop() {
	w.timer.Stop()
	w.end(nil)
}

// explain names what ended the transfer where the transport only says that it
// was cancelled. What is left is the other end's fault.
func (w *watch) explain(err error) error {
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	return fault.Wrap(fault.Remote, err)
}

// watchedReader tells the watch and the task what moves.
type watchedReader struct {
	r           io.Reader
	watch       *watch
	done, total int64 // bytes, with what an earlier attempt got
	task        report.Task
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.watch.timer.Reset(w.watch.limit)
		w.done += int64(n)
		w.task.Progress(w.done, w.total)
	}
	return n, err
}
