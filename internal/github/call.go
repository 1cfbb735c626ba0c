package github

import (
	"context"
	"net/http"

	gogithub "github.com/google/go-github/v60/github"
)

// safety says whether a call may be made twice.
type safety bool

const (
	repeatable safety = true
	once       safety = false
)

// do makes one call, with its attempts, and classifies its error.
func (c *Client) do(ctx context.Context, op string, s safety, fn func(context.Context) (*gogithub.Response, error)) (*gogithub.Response, error) {
	e := &exchange{op: op, repeatable: bool(s), began: c.opts.Now()}
	resp, err := fn(context.WithValue(ctx, exchangeKey{}, e))
	return resp, c.failure(ctx, e, err)
}

// call sends in as JSON and decodes the answer into out, each of which may be
// nil, at a path below the repository's.
func (c *Client) call(ctx context.Context, op string, s safety, method, path string, in, out any) (*gogithub.Response, error) {
	return c.do(ctx, op, s, func(ctx context.Context) (*gogithub.Response, error) {
		req, err := c.gh.NewRequest(method, c.path(path), in)
		if err != nil {
			return nil, err
		}
		return c.gh.Do(ctx, req, out)
	})
}

// get is call for what changes nothing.
func (c *Client) get(ctx context.Context, op, path string, out any) (*gogithub.Response, error) {
	return c.call(ctx, op, repeatable, http.MethodGet, path, nil, out)
}

// path is relative to the API's root, as go-github wants it.
func (c *Client) path(below string) string { return "repos/" + c.owner + "/" + c.name + below }
