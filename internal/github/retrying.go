package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// exchange is what one call knows about its attempts. It travels in the
// context, because the hooks of go-retryablehttp see nothing else of the call.
type exchange struct {
	op         string
	repeatable bool // doing it twice is the same as doing it once

	method, url string
	attempts    int
	began       time.Time
	wait        time.Duration
	unknown     bool      // it may have taken effect although it failed
	retryAt     time.Time // when a rate limit ends
	limited     bool
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	if e, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return e
	}
	return &exchange{}
}

// outer goes around go-retryablehttp. It adds the token, and takes away
// the headers by which go-github would refuse later calls by a clock of its own.
type outer struct {
	client *Client
	next   http.RoundTripper
}

func (o *outer) RoundTrip(req *http.Request) (*http.Response, error) {
	e := exchangeOf(req.Context())
	e.method, e.url = req.Method, plainURL(req.URL)
	req = req.Clone(req.Context())
	if o.client.opts.Token != "" {
		req.Header.Set("Authorization", "Bearer "+o.client.opts.Token)
	}
	req.Header.Set("User-Agent", o.client.opts.UserAgent)
	resp, err := o.next.RoundTrip(req)
	if err != nil {
		if resp != nil { // the context ended after the answer came
			resp.Body.Close()
		}
		return nil, err
	}
	if limit, at := o.client.limit(resp, e.attempts); limit {
		e.limited, e.retryAt = true, at
	}
	for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"} {
		resp.Header.Del(name)
	}
	return resp, nil
}

// checkRetry decides whether there is to be another attempt, and how long to
// wait before it.
func (c *Client) checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	e := exchangeOf(ctx)
	e.attempts++
	if ctx.Err() != nil {
		e.unknown = e.unknown || !e.repeatable && !neverSent(err)
		return false, context.Cause(ctx)
	}
	why := ""
	switch {
	case err != nil:
		if again, _ := retryablehttp.ErrorPropagatedRetryPolicy(ctx, nil, err); !again { // a certificate, a scheme
			return false, nil
		}
		if !e.repeatable && !neverSent(err) {
			e.unknown = true
			return false, nil
		}
		why = c.secrets.String(err.Error())
		e.wait = c.backoff(e)
	case resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented:
		if !e.repeatable {
			e.unknown = true
			return false, nil
		}
		why = resp.Status
		e.wait = c.backoff(e)
	default:
		limited, at := c.limit(resp, e.attempts)
		if !limited {
			return false, nil
		}
		why = resp.Status + ", rate limit"
		wait := max(at.Sub(c.opts.Now()), 0)
		e.wait = wait + time.Duration(float64(min(wait/4+time.Second, 15*time.Second))*c.jitter(e))
	}
	if e.attempts >= c.opts.Attempts || c.opts.Now().Add(e.wait).Sub(e.began) > c.opts.MaxElapsed {
		return false, nil
	}
	c.opts.Log.Info("GitHub: trying again", "call", e.op, "attempt", e.attempts+1, "wait", e.wait.Round(time.Millisecond), "because", why)
	return true, nil
}

// noBackoff: the wait is prepareRetry's, which has a context and our clock.
func noBackoff(time.Duration, time.Duration, int, *http.Response) time.Duration { return 0 }

func (c *Client) prepareRetry(req *http.Request) error {
	return c.opts.Sleep(req.Context(), exchangeOf(req.Context()).wait)
}

// backoff doubles from half a second to half a minute, give or take a half.
func (c *Client) backoff(e *exchange) time.Duration {
	wait := min(500*time.Millisecond<<min(e.attempts-1, 10), 30*time.Second)
	return time.Duration(float64(wait) * (0.5 + c.jitter(e)))
}

// jitter is a number from zero to one that the seed, the call and the attempt
// decide: parallel jobs part, and a run repeats itself.
func (c *Client) jitter(e *exchange) float64 {
	digest := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d", c.opts.JitterSeed, e.op, e.url, e.attempts))
	return float64(binary.BigEndian.Uint32(digest[:])) / (1 << 32)
}

// limit says whether an answer is a rate limit, and when it ends: by
// retry-after, else x-ratelimit-reset, else a minute that doubles, as
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api asks.
func (c *Client) limit(resp *http.Response, attempts int) (bool, time.Time) {
	if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests {
		return false, time.Time{}
	}
	now := c.opts.Now()
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		return true, now.Add(time.Duration(seconds) * time.Second)
	}
	if resp.Header.Get("X-RateLimit-Remaining") == "0" {
		if unix, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil {
			return true, time.Unix(unix, 0).Add(time.Second) // the header's second is cut off
		}
	}
	if resp.StatusCode == http.StatusForbidden && !strings.Contains(strings.ToLower(string(peek(resp))), "rate limit") {
		return false, time.Time{}
	}
	return true, now.Add(time.Minute << min(max(attempts-1, 0), 4))
}

// peek reads the beginning of an answer's body and leaves it unread.
func peek(resp *http.Response) []byte {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	return head
}

// neverSent says whether a request failed before the server could see it.
func neverSent(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial"
}

// Pause waits before the caller's own attempt number attempt+1 at something that
// failed with err: as long as a rate limit lasts, else with the same backoff as calls
// have. It fails if ctx ends, or if the limit ends later than MaxElapsed allows.
func (c *Client) Pause(ctx context.Context, attempt int, err error) error {
	e := &exchange{op: "pause", attempts: max(attempt, 1)}
	wait := c.backoff(e)
	var failed *Error
	if errors.As(err, &failed) && !failed.RetryAt.IsZero() {
		left := max(failed.RetryAt.Sub(c.opts.Now()), 0)
		if left > c.opts.MaxElapsed {
			return err
		}
		wait = left + time.Duration(float64(min(left/4+time.Second, 15*time.Second))*c.jitter(e))
	}
	return c.opts.Sleep(ctx, wait)
}
