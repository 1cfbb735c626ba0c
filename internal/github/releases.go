package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Release is a release, a draft too.
type Release struct {
	ID          int64     `json:"id"`
	Tag         string    `json:"tag_name"`
	Target      string    `json:"target_commitish"`
	Name        string    `json:"name"`
	Body        string    `json:"body"`
	Draft       bool      `json:"draft"`
	Prerelease  bool      `json:"prerelease"`
	Immutable   bool      `json:"immutable"` // nothing can be added any more
	CreatedAt   time.Time `json:"created_at"`
	PublishedAt time.Time `json:"published_at"` // zero for a draft
	HTMLURL     string    `json:"html_url"`
	UploadURL   string    `json:"upload_url"` // a template: pass it to Upload as it is
	Author      User      `json:"author"`
	Assets      []Asset   `json:"assets"` // as of the answer
}

// User made something.
type User struct {
	Login string `json:"login"`
	Type  string `json:"type"` // Bot or User
}

// NewRelease is what CreateRelease makes.
type NewRelease struct {
	Tag        string `json:"tag_name"`
	Target     string `json:"target_commitish,omitempty"` // the commit or branch to tag when published; the default branch unless set
	Name       string `json:"name,omitempty"`
	Body       string `json:"body,omitempty"` // up to MaxBody characters
	Draft      bool   `json:"draft"`
	Prerelease bool   `json:"prerelease"`
	MakeLatest string `json:"make_latest,omitempty"` // true, false or legacy
}

// ReleaseChange is what UpdateRelease changes: what is not nil.
type ReleaseChange struct {
	Tag        *string `json:"tag_name,omitempty"`
	Target     *string `json:"target_commitish,omitempty"`
	Name       *string `json:"name,omitempty"`
	Body       *string `json:"body,omitempty"`
	Draft      *bool   `json:"draft,omitempty"` // false publishes
	Prerelease *bool   `json:"prerelease,omitempty"`
	MakeLatest *string `json:"make_latest,omitempty"` // true, false or legacy
}

// GitHub's limits.
const (
	MaxBody       = 125_000 // characters of a release's body
	MaxAssets     = 1000    // of a release
	MaxAssetBytes = 2 << 30 // an asset is smaller than this
)

// perPage is the longest page that GitHub gives.
const perPage = 100

// Release returns a release, a draft too, by its number.
func (c *Client) Release(ctx context.Context, id int64) (*Release, error) {
	release := new(Release)
	_, err := c.get(ctx, fmt.Sprintf("read release %d", id), fmt.Sprintf("/releases/%d", id), release)
	return orNil(release, err)
}

// ReleaseByTag returns the published release of a tag; drafts are not found.
func (c *Client) ReleaseByTag(ctx context.Context, tag string) (*Release, error) {
	release := new(Release)
	_, err := c.get(ctx, "read release "+tag, "/releases/tags/"+url.PathEscape(tag), release)
	return orNil(release, err)
}

// LatestRelease returns the release that GitHub shows as the latest.
func (c *Client) LatestRelease(ctx context.Context) (*Release, error) {
	release := new(Release)
	_, err := c.get(ctx, "read the latest release", "/releases/latest", release)
	return orNil(release, err)
}

// Releases lists all releases, each once: published ones, and drafts if the
// token may push. A release that was just made can be missing.
func (c *Client) Releases(ctx context.Context) ([]Release, error) {
	return list(ctx, c, "list the releases", "/releases", func(r Release) int64 { return r.ID })
}

// CreateRelease makes a release. It looks for none that is there already:
// GitHub takes any number of drafts for a tag.
func (c *Client) CreateRelease(ctx context.Context, release NewRelease) (*Release, error) {
	made := new(Release)
	_, err := c.call(ctx, "create release "+release.Tag, once, http.MethodPost, "/releases", release, made)
	return orNil(made, err)
}

// UpdateRelease changes a release, and publishes it if Draft is false. An
// answer that was lost is asked for again, which changes nothing more.
func (c *Client) UpdateRelease(ctx context.Context, id int64, change ReleaseChange) (*Release, error) {
	changed := new(Release)
	_, err := c.call(ctx, fmt.Sprintf("update release %d", id), repeatable, http.MethodPatch, fmt.Sprintf("/releases/%d", id), change, changed)
	return orNil(changed, err)
}

// DeleteRelease deletes a release with its assets, and not its tag. That it
// is gone already is no error.
func (c *Client) DeleteRelease(ctx context.Context, id int64) error {
	return c.remove(ctx, fmt.Sprintf("delete release %d", id), fmt.Sprintf("/releases/%d", id))
}

func (c *Client) remove(ctx context.Context, op, path string) error {
	_, err := c.call(ctx, op, repeatable, http.MethodDelete, path, nil, nil)
	if IsNotFound(err) {
		return nil
	}
	return err
}

// list reads all pages. Pages shift while others create and delete, so an item
// may come twice.
func list[E any](ctx context.Context, c *Client, op, path string, id func(E) int64) ([]E, error) {
	var all []E
	seen := map[int64]bool{}
	for number := 1; number != 0; {
		var page []E
		resp, err := c.get(ctx, op, fmt.Sprintf("%s?per_page=%d&page=%d", path, perPage, number), &page)
		if err != nil {
			return nil, err
		}
		for _, each := range page {
			if !seen[id(each)] {
				seen[id(each)] = true
				all = append(all, each)
			}
		}
		number = resp.NextPage
	}
	return all, nil
}

func orNil[E any](value *E, err error) (*E, error) {
	if err != nil {
		return nil, err
	}
	return value, nil
}
