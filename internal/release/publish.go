package release

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/template"
)

// Request is what to publish, and where to.
type Request struct {
	Client *github.Client // of one repository

	Tag       string // of the release; may be empty when ReleaseID says which
	ReleaseID int64  // an explicit release; zero: the tag's, made when there is none
	Commit    string // that a new tag is put on; empty: the default branch's

	Builds       []*Build // to upload; none: only close
	Job          *Job     // of the matrix that the builds come from; nil: none
	CompleteWhen Completion
	KeepDraft    bool // upload and write everything, but do not publish
	Unproved     bool // take artifacts that were not booted

	Uploads    int   // at once; zero means DefaultUploads
	AssetLimit int64 // largest asset in bytes; zero means MaxAssetBytes
}

// DefaultUploads is how many assets are uploaded at once: one connection does
// not fill a fast line, and many make GitHub's secondary limit.
const DefaultUploads = 3

// Outcome is what became of it.
type Outcome struct {
	ReleaseID int64    `json:"release_id"`
	Tag       string   `json:"tag"`
	URL       string   `json:"url"`
	Draft     bool     `json:"draft"`
	Closed    bool     `json:"closed"`              // everything was complete
	Missing   []string `json:"missing,omitempty"`   // what it is not closed for
	Uploaded  []string `json:"uploaded,omitempty"`  // assets, by this call
	Unchanged []string `json:"unchanged,omitempty"` // assets that were there already
	Catalogs  []string `json:"catalogs,omitempty"`  // of Vagrant, as paths on the Pages branch
	AMIs      []AMI    `json:"amis,omitempty"`
}

// maxRounds is how often a call starts anew because the release that it was
// filling turned out not to be the one.
const maxRounds = 10

// errMoved says that the release that was being filled is not the one, or not
// there any more, or was changed by somebody else.
var errMoved = errors.New("the release changed while it was filled")

// Publish uploads what the builds made, and closes the release if that makes
// it complete.
func Publish(ctx context.Context, r Request, task report.Task) (Outcome, error) {
	p, err := newPublisher(ctx, r, task)
	if err != nil {
		return Outcome{}, err
	}
	for round := 1; ; round++ {
		err := p.round(ctx)
		switch {
		case err == nil:
			slices.Sort(p.outcome.Uploaded)
			slices.Sort(p.outcome.Unchanged)
			return p.outcome, nil
		case !errors.Is(err, errMoved):
			return p.outcome, err
		case round == maxRounds:
			return p.outcome, fault.Errorf(fault.Remote, "the releases of tag %s changed in each of %d rounds: %w; run the job again", p.Tag, round, err)
		}
		task.Note("%v; once more from the start", err)
		if err := r.Client.Pause(ctx, min(round, 4), nil); err != nil {
			return p.outcome, err
		}
	}
}

// round does all of it once, on the release that now seems to be the one.
func (p *publisher) round(ctx context.Context) error {
	at, err := p.converge(ctx)
	if err != nil {
		return err
	}
	p.outcome.ReleaseID, p.outcome.Tag, p.outcome.URL, p.outcome.Draft = at.ID, at.Tag, at.HTMLURL, at.Draft
	p.outcome.Uploaded, p.outcome.Unchanged = nil, nil
	for _, own := range p.cells {
		if err := p.uploadCell(ctx, at, own); err != nil {
			return fmt.Errorf("release %s: cell %s: %w", at.Tag, own.cell.Ref, err)
		}
	}
	// The list has had time to catch up.
	others, err := p.stillThere(ctx, at)
	if err != nil {
		return err
	}
	if err := p.leave(ctx, at); err != nil {
		return err
	}
	return p.close(ctx, at, others)
}

// publisher is one call of Publish.
type publisher struct {
	Request
	hub     hub
	task    report.Task
	cells   []*localCell
	left    map[int64]bool // drafts of ours that turned out to be one too many
	warned  map[string]bool
	mu      sync.Mutex      // guards what follows
	read    map[int64]*Cell // by the number of their asset; nil: no cell
	outcome Outcome
}

// localCell is a cell with what it uploads.
type localCell struct {
	cell    *Cell
	uploads []upload
	text    []byte // its JSON
	sum     string // of that
}

// upload is one asset and where its bytes are.
type upload struct {
	File
	from section
}

func newPublisher(ctx context.Context, r Request, task report.Task) (*publisher, error) {
	p := &publisher{Request: r, hub: hub{r.Client}, task: task, left: map[int64]bool{}, warned: map[string]bool{}, read: map[int64]*Cell{}}
	if p.Uploads <= 0 {
		p.Uploads = DefaultUploads
	}
	if p.AssetLimit <= 0 {
		p.AssetLimit = MaxAssetBytes
	}
	if p.Tag == "" && p.ReleaseID == 0 {
		return nil, fault.Errorf(fault.Input, "no tag says which release this is; run it for the push of a tag, or name one")
	}
	var err error
	if p.CompleteWhen, err = ParseCompletion(string(p.CompleteWhen)); err != nil {
		return nil, err
	}
	seen := map[Ref]string{}
	for _, build := range r.Builds {
		for _, cell := range build.Cells {
			if other := seen[cell.Ref]; other != "" {
				return nil, fault.Errorf(fault.Input, "cell %s is in %s and in %s; publish one of them", cell.Ref, other, build.Dir)
			}
			seen[cell.Ref] = build.Dir
			if p.Tag != "" && !strings.HasSuffix(p.Tag, cell.Version) {
				p.warn("the tag is %s, and the version of %s is %s", p.Tag, cell.Name, cell.Version)
			}
			own, err := p.prepare(ctx, build, cell)
			if err != nil {
				return nil, fmt.Errorf("cell %s: %w", cell.Ref, err)
			}
			p.cells = append(p.cells, own)
		}
	}
	return p, nil
}

// prepare decides what a cell uploads.
func (p *publisher) prepare(ctx context.Context, build *Build, from *Cell) (*localCell, error) {
	c := *from
	c.Job, c.Artifacts = p.Job, slices.Clone(from.Artifacts)
	own := &localCell{cell: &c}
	for i := range c.Artifacts {
		a := &c.Artifacts[i]
		if a.Proof == nil && a.Path != "" && !p.Unproved {
			return nil, fault.Errorf(fault.Input, "%s was not booted, so nothing says that it works; build without --until, or say that it may be published all the same", a.Name)
		}
		if a.Path == "" {
			continue
		}
		path := filepath.Join(build.Dir, a.Path)
		sections, err := split(path, a.Name, a.SizeBytes, p.AssetLimit, build.Oversize)
		if err != nil {
			return nil, err
		}
		if sections == nil {
			own.uploads = append(own.uploads, upload{File{a.Name, a.SizeBytes, a.SHA256}, section{path, 0, a.SizeBytes}})
		}
		for n, each := range sections {
			digest, err := each.sha256(ctx)
			if err != nil {
				return nil, err
			}
			part := File{partName(a.Name, n), each.size, digest}
			a.Parts = append(a.Parts, part)
			own.uploads = append(own.uploads, upload{part, each})
		}
	}
	for _, each := range []*File{c.Manifest, c.Record} {
		if each == nil {
			continue
		}
		if _, err := split("", each.Name, each.SizeBytes, p.AssetLimit, template.Refuse); err != nil {
			return nil, err
		}
		path := filepath.Join(build.Dir, build.manifest[each.Name])
		own.uploads = append(own.uploads, upload{*each, section{path, 0, each.SizeBytes}})
	}
	var err error
	if own.text, err = c.JSON(); err != nil {
		return nil, err
	}
	own.sum = fileOf("", own.text).SHA256
	return own, nil
}

// warn says something once, however many rounds there are.
func (p *publisher) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !p.warned[text] {
		p.warned[text] = true
		p.task.Warn("%s", text)
	}
}
