package github

import (
	"context"
	"net/http"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

// Repository is what is known of the repository itself.
type Repository struct {
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private"`
	HasPages      bool   `json:"has_pages"`
	HTMLURL       string `json:"html_url"`
}

// Info reads the repository.
func (c *Client) Info(ctx context.Context) (*Repository, error) {
	repository := new(Repository)
	_, err := c.get(ctx, "read repository "+c.opts.Repository, "", repository)
	return orNil(repository, err)
}

// PagesURL returns the address of the repository's site, without a slash at
// the end. IsNotFound says that it has none.
func (c *Client) PagesURL(ctx context.Context) (string, error) {
	var site struct {
		HTMLURL string `json:"html_url"`
	}
	_, err := c.get(ctx, "read the Pages site of "+c.opts.Repository, "/pages", &site)
	return strings.TrimSuffix(site.HTMLURL, "/"), err
}

// CheckPush fails, with the remedy, if the token may not make releases. It
// changes nothing.
//
// The repository's own "permissions" do not help: they say nothing true about an app's token,
// which a job's is, and for a personal one they tell the user's rights. So it asks for a branch at a commit
// that cannot be: without the right GitHub answers 401, 403 or 404, with it 422.
func (c *Client) CheckPush(ctx context.Context) error {
	op := "check the right to write to " + c.opts.Repository
	if c.opts.Token == "" {
		return fault.Wrap(fault.Input, &Error{Op: op, Message: "there is no token", Remedy: "pass one: github-token: ${{ github.token }}"})
	}
	_, err := c.call(ctx, op, repeatable, http.MethodPost, "/git/refs", map[string]string{
		"ref": "refs/heads/imagebuild-check", "sha": strings.Repeat("0", 40),
	}, nil)
	switch statusOf(err) {
	case http.StatusUnprocessableEntity, http.StatusConflict: // the second from an empty repository
		return nil
	}
	return err
}
