package release

import (
	"context"
	"fmt"

	"github.com/org/imagebuild-action/internal/report"
)

// Has tells whether a cell of this digest is on its release already, complete:
// then there is nothing to build. It makes nothing and changes nothing. Of the
// request it needs Client, and Tag or ReleaseID.
func Has(ctx context.Context, r Request, cell Ref, version, cellDigest string) (bool, error) {
	r.Builds = nil
	p, err := newPublisher(ctx, r, report.Discard.Begin(""))
	if err != nil {
		return false, err
	}
	found, err := p.look(ctx)
	if err != nil || found.first == nil {
		return false, err
	}
	assets, err := p.hub.assets(ctx, found.first.ID)
	if err != nil {
		return false, err
	}
	there := find(assets, (&Cell{Ref: cell, Version: version}).AssetName())
	if there == nil || !there.whole() {
		return false, nil
	}
	known, err := p.readCell(ctx, there)
	if err != nil {
		return false, fmt.Errorf("release %s: %w", found.first.Tag, err)
	}
	return known != nil && known.CellDigest == cellDigest && len(p.lackingFiles([]*Cell{known}, assets)) == 0, nil
}
