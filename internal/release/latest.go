package release

import (
	"context"
	"fmt"

	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/report"
)

// Latest reads the cells of the latest published release: its tag, and what it
// has, sorted. A repository without one has none.
func Latest(ctx context.Context, client *github.Client) (tag string, cells []*Cell, err error) {
	latest, err := (hub{client}).latest(ctx)
	if err != nil || latest == nil {
		return "", nil, err
	}
	p, err := newPublisher(ctx, Request{Client: client, ReleaseID: latest.ID}, report.Discard.Begin(""))
	if err != nil {
		return "", nil, err
	}
	assets, err := p.listAssets(ctx, latest)
	if err != nil {
		return "", nil, err
	}
	if cells, err = p.readCells(ctx, assets); err != nil {
		return "", nil, fmt.Errorf("release %s: %w", latest.Tag, err)
	}
	return latest.Tag, cells, nil
}
