package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/github"
)

// close looks whether everything is there, and if so writes what belongs to
// the whole and publishes. Everybody may do it, at any time, at once.
func (p *publisher) close(ctx context.Context, at *remote, others []*remote) error {
	cells, assets, lacking, err := p.gather(ctx, at, others)
	if err != nil {
		return fmt.Errorf("release %s: %w", at.Tag, err)
	}
	if p.outcome.Missing = lacking; len(lacking) > 0 {
		p.task.Note("the release of %s waits for %s", at.Tag, few(lacking))
		return nil
	}
	p.outcome.AMIs = amiTable(cells)
	catalogs, err := p.finish(ctx, at, cells, assets)
	if err != nil && at.Draft && ctx.Err() == nil {
		// Another cell may have closed it meanwhile, and perhaps for good.
		if now, look := p.hub.byID(ctx, at.ID); look == nil && now != nil && !now.Draft {
			catalogs, err = p.finish(ctx, now, cells, nil)
		}
	}
	if err != nil {
		return fmt.Errorf("close the release of %s: %w", at.Tag, err)
	}
	p.outcome.Closed = true
	if err := p.tidy(ctx); err != nil {
		return fmt.Errorf("remove what is superfluous of %s: %w", at.Tag, err)
	}
	if p.outcome.Draft {
		return nil
	}
	return p.serveCatalogs(ctx, catalogs)
}

// finish writes what belongs to the whole, and publishes. listed are the
// assets as of a moment ago; nil: list them.
func (p *publisher) finish(ctx context.Context, at *remote, cells []*Cell, listed []asset) ([]catalog, error) {
	catalogs, err := p.generate(ctx, at, cells, listed)
	if err != nil {
		return nil, err
	}
	return catalogs, p.publish(ctx, at, cells)
}

// few names some of many.
func few(list []string) string {
	const shown = 5
	if len(list) > shown {
		return strings.Join(list[:shown], ", ") + fmt.Sprintf(" and %d more", len(list)-shown)
	}
	return strings.Join(list, ", ")
}

// gather reads the cells that are on the release, sorted, and its assets, and
// says what is missing. It adopts cells that were left on a superfluous draft.
func (p *publisher) gather(ctx context.Context, at *remote, others []*remote) ([]*Cell, []asset, []string, error) {
	assets, err := p.listAssets(ctx, at)
	if err != nil {
		return nil, nil, nil, err
	}
	strays := slices.DeleteFunc(others, func(r *remote) bool { return !ours(r) || r.ID == at.ID })
	if lacking := p.early(assets); len(lacking) > 0 && len(strays) == 0 {
		return nil, nil, lacking, nil
	}
	for {
		cells, err := p.readCells(ctx, assets)
		if err != nil {
			return nil, nil, nil, err
		}
		lacking := missing(cells, p.CompleteWhen)
		if len(cells) == 0 {
			lacking = []string{"cells: the release has none"}
		}
		if len(lacking) == 0 {
			lacking = p.lackingFiles(cells, assets)
		}
		if len(lacking) == 0 || len(strays) == 0 || at.Immutable {
			return cells, assets, lacking, nil
		}
		adopted, err := p.adopt(ctx, at, cells, strays[0])
		if err != nil {
			return nil, nil, nil, err
		}
		strays = strays[1:]
		if adopted {
			if assets, err = p.listAssets(ctx, at); err != nil {
				return nil, nil, nil, err
			}
		}
	}
}

// early says what is missing by the names of assets alone. Reading every cell's
// JSON in every job would spend the repository's requests: 1,000 an hour.
func (p *publisher) early(assets []asset) []string {
	var lacking []string
	names, jsons := map[string]bool{}, 0
	for _, a := range assets {
		if a.whole() {
			names[a.Name] = true
			if maybeCell(&a) {
				jsons++
			}
		}
	}
	for _, own := range p.cells {
		wanted := own.cell.Built
		if p.CompleteWhen != WholeMatrix {
			wanted = own.cell.Template
		}
		for _, ref := range wanted {
			other := Cell{Ref: ref, Version: own.cell.Version}
			if line := "cell " + ref.String(); !names[other.AssetName()] && !slices.Contains(lacking, line) {
				lacking = append(lacking, line)
			}
		}
		if j := own.cell.Job; j != nil && jsons < j.Total && len(lacking) == 0 {
			lacking = append(lacking, fmt.Sprintf("%d of %d jobs%s", j.Total-jsons, j.Total, spaced(j.Key)))
		}
	}
	return lacking
}

// maybeCell tells by its name whether an asset can be a cell's JSON.
func maybeCell(a *asset) bool { return strings.HasSuffix(a.Name, ".json") && !generated(a.Name) }

// readCells reads the cells among the assets, in the order of everything that
// is made from them.
func (p *publisher) readCells(ctx context.Context, assets []asset) ([]*Cell, error) {
	var cells []*Cell
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range assets {
		a := &assets[i]
		if !a.whole() || !maybeCell(a) {
			continue
		}
		group.Go(func() error {
			cell, err := p.readCell(ctx, a)
			if github.IsNotFound(err) { // replaced at this moment
				return nil
			}
			if err == nil && cell != nil {
				mu.Lock()
				cells = append(cells, cell)
				mu.Unlock()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	sortCells(cells)
	return cells, nil
}

// lackingFiles says which files that the cells promise are not there, whole.
func (p *publisher) lackingFiles(cells []*Cell, assets []asset) []string {
	var lacking []string
	for _, c := range cells {
		for _, f := range c.Files() {
			if what := decide(f, find(assets, f.Name), false); what != skip && what != compare {
				lacking = append(lacking, fmt.Sprintf("asset %s of cell %s", f.Name, c.Ref))
			}
		}
	}
	return lacking
}

// publish writes the body, and turns a draft into a release: last, and once.
func (p *publisher) publish(ctx context.Context, at *remote, cells []*Cell) error {
	now, err := p.hub.byID(ctx, at.ID)
	if err != nil {
		return err
	}
	if now == nil {
		return errMoved
	}
	body := withSection(now.Body, sections(cells, p.download(at), true)...)
	var change github.ReleaseChange
	if body != now.Body && !now.Immutable {
		change.Body = &body
	}
	publishes := now.Draft && !p.KeepDraft
	if publishes {
		draft, latest := false, "legacy" // GitHub decides by version and date
		change.Draft, change.MakeLatest = &draft, &latest
		if !now.Prerelease && slices.ContainsFunc(cells, func(c *Cell) bool { return prerelease(c.Version) }) {
			is := true
			change.Prerelease = &is
		}
	}
	if change != (github.ReleaseChange{}) {
		changed, err := p.hub.edit(ctx, at.ID, change)
		switch {
		case github.AlreadyExists(err) && p.ReleaseID == 0, err == nil && changed == nil:
			p.left[at.ID] = true
			return errMoved
		case err != nil:
			return err
		}
		now = changed
	}
	if publishes {
		p.task.Note("published %s", now.HTMLURL)
	}
	p.outcome.URL, p.outcome.Draft = now.HTMLURL, now.Draft
	return nil
}

// tidy removes the drafts of ours that are one too many.
func (p *publisher) tidy(ctx context.Context) error {
	if p.ReleaseID != 0 {
		return nil
	}
	found, err := p.look(ctx)
	if err != nil || found.first == nil {
		return err
	}
	for _, each := range found.others {
		if err := p.dispose(ctx, each, found.first); err != nil {
			return err
		}
	}
	return nil
}
