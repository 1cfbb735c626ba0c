package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/report"
)

// maxAssets is how many assets a release has at most.
const maxAssets = 1000

// maxTries is how often one asset is tried, on top of what the client itself
// repeats.
const maxTries = 6

// patience is how often in a row another job's upload is seen, with growing
// pauses in between, before it counts as one that broke off.
const patience = 3

// action is what becomes of an asset.
type action int

const (
	put     action = iota // it is not there
	skip                  // it is there, and equal
	mend                  // an upload of it broke off: remove it, then put
	replace               // it has other bytes, and that is all right: remove it, then put
	compare               // the server does not say its digest: read it
	refuse                // it has other bytes
)

// decide compares an asset with what is wanted. replaceable says that other
// bytes are nobody's loss.
func decide(want File, have *asset, replaceable bool) action {
	switch {
	case have == nil:
		return put
	case !have.whole():
		return mend
	case have.SizeBytes == want.SizeBytes && have.SHA256 == want.SHA256:
		return skip
	case have.SizeBytes == want.SizeBytes && have.SHA256 == "":
		return compare
	case replaceable:
		return replace
	}
	return refuse
}

// conflict says that an asset has other bytes, and what to do about it.
func conflict(at *remote, want File, have *asset) error {
	remedy := "remove it from the draft, or build what was built then"
	if !at.Draft {
		remedy = "release it under a new version: what is published may have been downloaded"
	}
	return fault.Errorf(fault.Input, "the asset %s is there with sha256 %s (%d bytes), and this build's has %s (%d bytes); %s",
		want.Name, unknown(have.SHA256), have.SizeBytes, want.SHA256, want.SizeBytes, remedy)
}

func unknown(digest string) string {
	if digest == "" {
		return "unknown"
	}
	return digest
}

// uploadCell brings one cell onto the release: its files, then its JSON.
func (p *publisher) uploadCell(ctx context.Context, at *remote, own *localCell) error {
	assets, err := p.listAssets(ctx, at)
	if err != nil {
		return err
	}
	json := fileOf(own.cell.AssetName(), own.text)
	finished, there := false, find(assets, json.Name)
	if there != nil && there.whole() {
		before, err := p.readCell(ctx, there)
		switch {
		case err != nil:
			return err
		case before == nil:
			return conflict(at, json, there)
		case before.CellDigest != own.cell.CellDigest || !before.sameWork(own.cell):
			return differs(at, before, own.cell)
		}
		finished = true
	}
	// Everything that cannot be is said before the first byte goes out.
	var wanted []upload
	var errs []error
	for _, u := range own.uploads {
		have := find(assets, u.Name)
		what, err := p.judge(ctx, u.File, have, at.Draft && !finished)
		switch {
		case err != nil:
			return err
		case what == skip:
			p.outcome.Unchanged = append(p.outcome.Unchanged, u.Name)
			continue
		case what == refuse:
			errs = append(errs, conflict(at, u.File, have))
		case what == replace:
			p.warn("%s has other bytes: an earlier try of this cell did not come to its end; it is replaced", u.Name)
		}
		wanted = append(wanted, u)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if finished && len(wanted) == 0 {
		p.outcome.Unchanged = append(p.outcome.Unchanged, json.Name)
		p.task.Note("%s: complete already", own.cell.Ref)
		return nil
	}
	if at.Immutable {
		return fault.Errorf(fault.Input, "the release of %s is published and immutable, so nothing can be added to it; release under a new tag", at.Tag)
	}
	if n := len(assets) + len(wanted) + 1; n > maxAssets {
		return fault.Errorf(fault.Input, "the release would have %d assets, and GitHub takes %d; release fewer images under one tag, or fewer parts", n, maxAssets)
	}
	if err := p.uploadAll(ctx, at, wanted, rules{replaceable: at.Draft && !finished, listed: assets}); err != nil {
		return err
	}
	if assets, err = p.whole(ctx, at, own); err != nil {
		return err
	}
	if finished {
		return nil
	}
	return p.ensure(ctx, at, json, textOpener(own.text), rules{replaceable: at.Draft, listed: assets})
}

// differs says that the cell is there, made from something else.
func differs(at *remote, before, now *Cell) error {
	remedy := "remove its assets from the draft, or the draft, and run the job again"
	if !at.Draft {
		remedy = "release it under a new version"
	}
	if before.CellDigest == now.CellDigest {
		for _, f := range now.Files() {
			for _, old := range before.Files() {
				if old.Name == f.Name && old != f {
					return fault.Errorf(fault.Input, "the release has this cell already, from the same plan but with another %s: sha256 %s there, %s here; %s", f.Name, old.SHA256, f.SHA256, remedy)
				}
			}
		}
		return fault.Errorf(fault.Input, "the release has this cell already, from the same plan but with other files or other remote objects; %s", remedy)
	}
	return fault.Errorf(fault.Input, "the release has this cell already, from plan %s, and this build is of plan %s; %s", before.CellDigest, now.CellDigest, remedy)
}

// judge is decide, with a look into the asset where that is needed.
func (p *publisher) judge(ctx context.Context, want File, have *asset, replaceable bool) (action, error) {
	what := decide(want, have, replaceable)
	if what != compare {
		return what, nil
	}
	digest, err := p.hub.digest(ctx, have)
	if err != nil {
		return refuse, err
	}
	known := *have
	known.SHA256 = digest
	return decide(want, &known, replaceable), nil
}

func (p *publisher) uploadAll(ctx context.Context, at *remote, wanted []upload, r rules) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.Uploads)
	for _, u := range wanted {
		r := r
		group.Go(func() error {
			return report.Do(p.task, u.Name, func(task report.Task) error {
				r.progress = func(done int64) { task.Progress(done, u.SizeBytes) }
				return p.ensure(ctx, at, u.File, u.from.open, r)
			})
		})
	}
	return group.Wait()
}

// rules are how ensure deals with what it finds.
type rules struct {
	replaceable bool
	shared      bool // other jobs may be uploading the same asset now
	progress    func(done int64)
	listed      []asset // the release's assets as of a moment ago; nil: list them
}

// ensure makes an asset be there, whole. It looks first, and after everything
// that goes wrong it looks again: an upload whose answer was lost is there.
func (p *publisher) ensure(ctx context.Context, at *remote, want File, open opener, r rules) error {
	var last error
	var starter int64 // an upload that runs, or broke off: seen before
	seen := 0         // how often in a row
	tries := maxTries
	if r.shared {
		tries += 2 * patience
	}
	for try := range tries {
		if try > 0 {
			if err := p.Client.Pause(ctx, try, last); err != nil {
				return errors.Join(err, last)
			}
		}
		assets := r.listed
		if try > 0 || assets == nil {
			var err error
			if assets, err = p.listAssets(ctx, at); err != nil {
				return err
			}
		}
		have := find(assets, want.Name)
		what, err := p.judge(ctx, want, have, r.replaceable)
		switch {
		case err != nil:
			return err
		case what == skip:
			p.note(want.Name, try > 0 && last != nil)
			return nil
		case what == refuse:
			return conflict(at, want, have)
		case what == mend && r.shared && (starter != have.ID || seen < patience):
			if starter != have.ID {
				starter, seen = have.ID, 0
			}
			seen++
			last = fault.Errorf(fault.Remote, "%s: another upload of it does not end", want.Name)
			continue
		case what == mend || what == replace:
			if err := p.hub.DeleteAsset(ctx, have.ID); err != nil {
				return fmt.Errorf("remove what is left of %s: %w", want.Name, err)
			}
		}
		var got *asset
		got, last = p.hub.upload(ctx, at, want, open, r.progress)
		switch {
		case last == nil && decide(want, got, false) == skip, last == nil && got.SHA256 == "" && got.SizeBytes == want.SizeBytes:
			p.note(want.Name, true)
			return nil
		case last == nil:
			last = fault.Errorf(fault.Remote, "GitHub has %s with sha256 %s (%d bytes, %s), and it was sent with %s (%d bytes)",
				want.Name, unknown(got.SHA256), got.SizeBytes, got.State, want.SHA256, want.SizeBytes)
			if err := p.hub.DeleteAsset(ctx, got.ID); err != nil {
				return errors.Join(last, err)
			}
		case r.shared && (github.IsNotFound(last) || github.AlreadyExists(last)):
			// Its owner is at it, and comes first: two who take turns in
			// removing each other's upload would never end.
			return fmt.Errorf("%w: %s is being uploaded by another job", errMoved, want.Name)
		case ctx.Err() != nil || !again(last):
			return fmt.Errorf("upload %s: %w", want.Name, last)
		}
	}
	return fmt.Errorf("upload %s, %d times: %w", want.Name, tries, last)
}

// note records what happened to an asset.
func (p *publisher) note(name string, sent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sent {
		p.outcome.Uploaded = append(p.outcome.Uploaded, name)
	} else {
		p.outcome.Unchanged = append(p.outcome.Unchanged, name)
	}
}

// listAssets lists the release's assets. A release that is gone, or that was
// marked as one too many, is errMoved.
func (p *publisher) listAssets(ctx context.Context, at *remote) ([]asset, error) {
	assets, err := p.hub.assets(ctx, at.ID)
	if !github.IsNotFound(err) {
		return assets, err
	}
	if p.ReleaseID != 0 {
		return nil, err
	}
	return nil, fmt.Errorf("%w: release %d is gone", errMoved, at.ID)
}

// whole looks again at all that the cell uploaded. What is missing was moved to
// another release by whoever found this one to be one too many, or removed by
// somebody else: errMoved, and the next round looks which release it is.
func (p *publisher) whole(ctx context.Context, at *remote, own *localCell) ([]asset, error) {
	assets, err := p.listAssets(ctx, at)
	if err != nil {
		return nil, err
	}
	for _, u := range own.uploads {
		switch what, err := p.judge(ctx, u.File, find(assets, u.Name), false); {
		case err != nil:
			return nil, err
		case what != skip:
			return nil, fmt.Errorf("%w: %s was uploaded, and is not there whole any more", errMoved, u.Name)
		}
	}
	return assets, nil
}

// readCell reads the JSON of a cell; nil if the asset is none.
func (p *publisher) readCell(ctx context.Context, a *asset) (*Cell, error) {
	if a.SizeBytes > maxCellBytes {
		return nil, nil
	}
	p.mu.Lock()
	cell, ok := p.read[a.ID]
	p.mu.Unlock()
	if ok { // an asset never changes under its number
		return cell, nil
	}
	for _, own := range p.cells {
		if own.sum == a.SHA256 && a.SHA256 != "" {
			return own.cell, nil
		}
	}
	text, err := p.hub.read(ctx, a, maxCellBytes)
	if err != nil {
		return nil, err
	}
	cell, is, err := ParseCell(a.Name, text)
	if !is {
		cell, err = nil, nil
	}
	if err == nil {
		p.mu.Lock()
		p.read[a.ID] = cell
		p.mu.Unlock()
	}
	return cell, err
}

func fileOf(name string, text []byte) File {
	sum := sha256.Sum256(text)
	return File{Name: name, SizeBytes: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}
}

func textOpener(text []byte) opener {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
}
