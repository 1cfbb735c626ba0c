package release

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/report"
)

// Withdraw takes back what a cancelled run has uploaded for the cells: their
// assets, from drafts only, and a draft of ours in which nothing else is left.
// What is published stays. Of the request it needs Client, and Tag or
// ReleaseID. Doing it twice is harmless.
func Withdraw(ctx context.Context, r Request, cells []Ref, version string, task report.Task) error {
	r.Builds = nil
	p, err := newPublisher(ctx, r, task)
	if err != nil {
		return err
	}
	found, err := p.look(ctx)
	if err != nil {
		return err
	}
	drafts := found.others
	if found.first != nil {
		drafts = append(drafts, found.first)
	}
	for _, draft := range drafts {
		if !draft.Draft {
			continue
		}
		if err := p.withdraw(ctx, draft, cells, version); err != nil && !github.IsNotFound(err) {
			return fmt.Errorf("withdraw from the draft of %s: %w", draft.Tag, err)
		}
	}
	return nil
}

func (p *publisher) withdraw(ctx context.Context, draft *remote, cells []Ref, version string) error {
	assets, err := p.hub.assets(ctx, draft.ID)
	if err != nil {
		return err
	}
	var own []asset
	rest := slices.DeleteFunc(slices.Clone(assets), func(a asset) bool {
		mine := slices.ContainsFunc(cells, func(ref Ref) bool {
			return strings.HasPrefix(a.Name, (&Cell{Ref: ref, Version: version}).prefix()+".")
		})
		if mine {
			own = append(own, a)
		}
		return mine || ours(draft) && generated(a.Name)
	})
	// The cell's JSON says that the cell is complete, so it goes first.
	slices.SortStableFunc(own, func(a, b asset) int { return order(a.Name) - order(b.Name) })
	for _, a := range own {
		if err := p.hub.DeleteAsset(ctx, a.ID); err != nil && !github.IsNotFound(err) {
			return err
		}
		p.task.Note("took %s back", a.Name)
	}
	if len(rest) > 0 || !ours(draft) {
		return nil
	}
	return p.discard(ctx, draft)
}

// order sorts JSON before everything else.
func order(name string) int {
	if strings.HasSuffix(name, ".json") {
		return 0
	}
	return 1
}

// discard removes a draft of ours unless somebody fills it at this moment. As
// in dispose, the mark comes first.
func (p *publisher) discard(ctx context.Context, draft *remote) error {
	name := tombstone
	if marked, err := p.hub.edit(ctx, draft.ID, github.ReleaseChange{Name: &name}); err != nil || marked == nil {
		return err
	}
	assets, err := p.hub.assets(ctx, draft.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(assets, func(a asset) bool { return a.whole() && !generated(a.Name) }) {
		return nil
	}
	p.task.Note("removed the empty draft of %s", draft.Tag)
	return p.hub.DeleteRelease(ctx, draft.ID)
}
