package release

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/org/imagebuild-action/internal/github"
)

// adopt moves the complete cells of a superfluous draft that the right release
// lacks. Whoever uploaded them saw that draft only, and is gone; if not, it
// moves them itself, to the same effect.
func (p *publisher) adopt(ctx context.Context, at *remote, have []*Cell, stray *remote) (bool, error) {
	assets, err := p.hub.assets(ctx, stray.ID)
	if github.IsNotFound(err) { // it is gone, and all that was in it is elsewhere
		return false, nil
	} else if err != nil {
		return false, err
	}
	cells, err := p.readCells(ctx, assets)
	if err != nil {
		return false, err
	}
	adopted := false
	for _, c := range cells {
		if slices.ContainsFunc(have, func(h *Cell) bool { return h.Ref == c.Ref }) || len(p.lackingFiles([]*Cell{c}, assets)) > 0 {
			continue
		}
		p.task.Note("cell %s is on another draft of %s; it is moved", c.Ref, at.Tag)
		if err := p.move(ctx, at, c, assets); err != nil {
			// Whoever uploaded it may be moving it at this moment.
			if now, look := p.hub.assets(ctx, stray.ID); look == nil && find(now, c.AssetName()) != nil || look != nil && !github.IsNotFound(look) {
				return adopted, errors.Join(err, look)
			}
		}
		adopted = true
	}
	return adopted, nil
}

// move copies a cell: its files first, its JSON last.
func (p *publisher) move(ctx context.Context, at *remote, c *Cell, assets []asset) error {
	for _, f := range c.Files() {
		if err := p.copy(ctx, at, find(assets, f.Name), f); err != nil {
			return err
		}
	}
	json := find(assets, c.AssetName())
	text, err := p.hub.read(ctx, json, maxCellBytes)
	if err != nil {
		return err
	}
	return p.copy(ctx, at, json, fileOf(json.Name, text))
}

// copy streams an asset from one release to another.
func (p *publisher) copy(ctx context.Context, at *remote, from *asset, want File) error {
	open := func() (io.ReadCloser, error) { return p.hub.reader(ctx, from), nil }
	return p.ensure(ctx, at, want, open, rules{replaceable: at.Draft, shared: true})
}
