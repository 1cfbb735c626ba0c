package release

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
)

// tombstone is the name of a draft of ours that is one too many. Whoever sees
// it takes the draft up no more, so that what was found empty after it was
// written stays empty.
const tombstone = "imagebuild: superseded, to be removed"

// settleLooks is how often a fresh draft is looked for in the list, a second
// apart at first: until it shows, and with it all that are older.
const settleLooks = 12

// candidates are a tag's releases. first is the one to fill, or nil.
type candidates struct {
	first  *remote
	others []*remote // drafts of the same tag, whoever made them
}

// look finds the release: the explicit one; what is published; the draft with
// the lowest id that is no tombstone.
func (p *publisher) look(ctx context.Context) (candidates, error) {
	if p.ReleaseID != 0 {
		r, err := p.hub.byID(ctx, p.ReleaseID)
		switch {
		case err != nil:
			return candidates{}, err
		case r == nil:
			return candidates{}, fault.Errorf(fault.Input, "there is no release with id %d, or the token may not see it; a draft needs the permission contents: write", p.ReleaseID)
		case p.Tag != "" && r.Tag != p.Tag:
			return candidates{}, fault.Errorf(fault.Input, "release %d is of tag %q, not of %q; leave one of both out", p.ReleaseID, r.Tag, p.Tag)
		}
		return candidates{first: r}, nil
	}
	published, err := p.hub.byTag(ctx, p.Tag)
	if err != nil {
		return candidates{}, err
	}
	drafts, err := p.hub.drafts(ctx, p.Tag)
	if err != nil {
		return candidates{}, err
	}
	slices.SortFunc(drafts, func(a, b *remote) int { return cmp.Compare(a.ID, b.ID) })
	found := candidates{first: published}
	for _, each := range drafts {
		if found.first == nil && each.Name != tombstone {
			// The list may be older than the release.
			fresh, err := p.hub.byID(ctx, each.ID)
			if err != nil {
				return candidates{}, err
			}
			if fresh != nil && fresh.Tag == p.Tag && fresh.Name != tombstone {
				found.first = fresh
				continue
			}
			if fresh == nil {
				continue
			}
		}
		if found.first == nil || each.ID != found.first.ID {
			found.others = append(found.others, each)
		}
	}
	return found, nil
}

// converge returns the release to fill, and makes a draft if there is none.
func (p *publisher) converge(ctx context.Context) (*remote, error) {
	found, err := p.look(ctx)
	// A draft that was marked as one too many has an elder that the list is
	// still to show.
	for i := 0; err == nil && found.first == nil && len(found.others) > 0 && i < settleLooks; i++ {
		if err = p.Client.Pause(ctx, min(i+1, 4), nil); err == nil {
			found, err = p.look(ctx)
		}
	}
	if err != nil || found.first != nil {
		return found.first, err
	}
	if len(p.cells) == 0 {
		return nil, fault.Errorf(fault.Input, "there is no release for tag %q, nor a draft that the token may see; name the output folders that are to be published", p.Tag)
	}
	own, err := p.hub.create(ctx, p.Tag, p.Commit)
	if err != nil {
		return nil, err
	}
	p.task.Note("made a draft for %s", p.Tag)
	return p.elect(ctx, own)
}

// elect waits until the list shows the draft that was made, and with it those
// that others made at the same time, and returns the one that comes first. own
// is nil if the answer was lost.
func (p *publisher) elect(ctx context.Context, own *remote) (*remote, error) {
	at := own
	for i := range settleLooks {
		found, err := p.look(ctx)
		if err != nil {
			return nil, err
		}
		if found.first != nil {
			at = found.first
		}
		if at != nil && (own == nil || !at.Draft || at.ID == own.ID && found.first != nil ||
			slices.ContainsFunc(found.others, func(r *remote) bool { return r.ID == own.ID })) {
			break
		}
		if err := p.Client.Pause(ctx, min(i+1, 4), nil); err != nil {
			return nil, err
		}
	}
	switch {
	case at == nil:
		return nil, fmt.Errorf("%w: what became of the draft is unknown", errMoved)
	case own != nil && at.ID != own.ID:
		p.left[own.ID] = true
	}
	return at, nil
}

// stillThere looks again whether this is the release to fill, and returns the
// other drafts of the tag.
func (p *publisher) stillThere(ctx context.Context, at *remote) ([]*remote, error) {
	if p.ReleaseID != 0 {
		return nil, nil
	}
	found, err := p.look(ctx)
	if err != nil {
		return nil, err
	}
	if found.first != nil && found.first.ID == at.ID {
		return found.others, nil
	}
	if found.first == nil { // the list is late, or somebody removed it
		fresh, err := p.hub.byID(ctx, at.ID)
		if err != nil {
			return nil, err
		}
		if fresh != nil && fresh.Tag == p.Tag && fresh.Name != tombstone {
			return found.others, nil
		}
	}
	p.left[at.ID] = true
	return nil, errMoved
}

// leave disposes of the drafts that this call filled by mistake.
func (p *publisher) leave(ctx context.Context, at *remote) error {
	ids := make([]int64, 0, len(p.left))
	for id := range p.left {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if id == at.ID {
			continue
		}
		r, err := p.hub.byID(ctx, id)
		if err != nil {
			return err
		}
		if r != nil {
			if err := p.dispose(ctx, r, at); err != nil {
				return err
			}
		}
		delete(p.left, id)
	}
	return nil
}

// ours tells whether a draft was made by us and holds no word of a person.
func ours(r *remote) bool {
	return r.Draft && (r.Name == r.Tag || r.Name == tombstone) && r.Body != "" && ownBody(r.Body)
}

// dispose takes a superfluous draft of ours out of the way: marks it, removes
// what the right release has too, and then the draft, if nothing is left in it.
func (p *publisher) dispose(ctx context.Context, r, right *remote) error {
	if !ours(r) || r.ID == right.ID {
		return nil
	}
	if r.Name != tombstone {
		name := tombstone
		marked, err := p.hub.edit(ctx, r.ID, github.ReleaseChange{Name: &name})
		if err != nil || marked == nil {
			return err
		}
	}
	assets, err := p.hub.assets(ctx, r.ID)
	if github.IsNotFound(err) { // somebody else was faster
		return nil
	} else if err != nil {
		return err
	}
	there, err := p.listAssets(ctx, right)
	if err != nil {
		return err
	}
	kept := 0
	for _, each := range assets {
		if !p.redundant(ctx, &each, find(there, each.Name)) {
			kept++
			continue
		}
		if err := p.hub.DeleteAsset(ctx, each.ID); err != nil {
			return err
		}
	}
	if kept > 0 {
		return nil
	}
	// Since the mark, at most one upload that ran already can have come in.
	assets, err = p.hub.assets(ctx, r.ID)
	if github.IsNotFound(err) {
		return nil
	}
	if err != nil || len(assets) > 0 {
		return err
	}
	return p.hub.DeleteRelease(ctx, r.ID)
}

// redundant tells whether an asset of a superfluous draft can go: it is whole
// on the right release, or it was never whole, or it is made anew by whoever
// closes.
func (p *publisher) redundant(ctx context.Context, a, there *asset) bool {
	if !a.whole() || generated(a.Name) {
		return true
	}
	if there == nil || !there.whole() {
		return false
	}
	if there.SizeBytes == a.SizeBytes && there.SHA256 == a.SHA256 && a.SHA256 != "" {
		return true
	}
	// Two tries of one cell describe themselves in different words.
	one, err := p.readCell(ctx, a)
	if err != nil || one == nil {
		return false
	}
	other, err := p.readCell(ctx, there)
	return err == nil && other != nil && one.sameWork(other)
}
