package action

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/release"
	"github.com/org/imagebuild-action/internal/report"
)

// The action's states between its stages.
const (
	statePublishing = "publishing" // what is being uploaded, as JSON
	stateDone       = "done"       // how it ended; unset when main was killed
)

// publication is a cell on its way to a release.
type publication struct {
	*cell
	request release.Request
}

// prepare finds out, before anything is built, whether publishing can work.
func (c *cell) prepare(ctx context.Context) (*publication, error) {
	if c.options.Until == build.StageProvision {
		return nil, fault.Errorf(fault.Input, "input until: provision makes no artifacts, so there is nothing to publish; set publish: false")
	}
	request, err := c.releaseRequest(ctx)
	if err != nil {
		return nil, err
	}
	if c.options.Until == build.StagePack {
		c.console.annotate("warning", fault.Position{}, "input until: pack: what is published was never booted")
		request.Unproved = true
	}
	return &publication{cell: c, request: request}, nil
}

// releaseRequest names the release, with a client that may write to it.
func (c *cell) releaseRequest(ctx context.Context) (release.Request, error) {
	if c.in.token == "" {
		return release.Request{}, fault.Errorf(fault.Input,
			"input github-token: there is none, and publishing needs one that may write releases; leave the input out to get the job's own, with permissions: {contents: write}")
	}
	client, err := c.client()
	if err != nil {
		return release.Request{}, err
	}
	if err := client.CheckPush(ctx); err != nil {
		return release.Request{}, err
	}
	request := release.Request{
		Client: client,
		Tag:    c.decision.tag, ReleaseID: c.decision.releaseID, Commit: c.github.SHA,
		CompleteWhen: release.Completion(c.in.completeWhen),
	}
	if c.in.jobTotal > 0 {
		path, _, _ := strings.Cut(c.getenv("GITHUB_WORKFLOW_REF"), "@")
		request.Job = &release.Job{Index: c.in.jobIndex, Total: c.in.jobTotal, Key: path + "#" + c.github.Job}
	}
	return request, nil
}

func (c *cell) client() (*github.Client, error) {
	return github.New(github.Options{
		Token: c.in.token, APIURL: c.github.APIURL, ServerURL: c.github.ServerURL, Repository: c.github.Repository,
		UserAgent:  c.Generator,
		JitterSeed: fmt.Sprint(c.github.RunID, c.github.Job, c.in.jobIndex),
	})
}

// present tells whether all that the job would build is on the release
// already, as in a job that is run again. Then it only sees to it that the
// release is closed.
func (p *publication) present(ctx context.Context) (bool, error) {
	for _, each := range p.plan.Cells {
		ref := release.Ref{Name: p.plan.Name, Platform: each.Platform, Arch: each.Arch}
		there, err := release.Has(ctx, p.request, ref, p.plan.Version, each.Digest)
		if err != nil || !there {
			return false, err
		}
	}
	p.console.line("the release of %s has all of this already; nothing is built", p.request.Tag)
	p.summary.fact("built", "nothing: the release has it already")
	return true, p.upload(ctx)
}

// publish uploads what was built.
func (p *publication) publish(ctx context.Context) error {
	built, err := release.Load(ctx, p.options.Output)
	if err != nil {
		return err
	}
	p.request.Builds = []*release.Build{built}
	return p.upload(ctx)
}

// upload gives the request's builds to the release, and says what became of
// it. What a cancelled upload made is taken back, because nobody waits for it.
func (p *publication) upload(ctx context.Context) error {
	journal := withdrawal{Tag: p.request.Tag, ReleaseID: p.request.ReleaseID, Version: p.plan.Version}
	for _, each := range p.plan.Cells {
		journal.Cells = append(journal.Cells, release.Ref{Name: p.plan.Name, Platform: each.Platform, Arch: each.Arch})
	}
	text, err := json.Marshal(journal)
	if err != nil {
		return err
	}
	if len(p.request.Builds) > 0 {
		if err := p.setValue("GITHUB_STATE", statePublishing, string(text)); err != nil {
			return err
		}
	}
	var outcome release.Outcome
	err = report.Do(reporter{p.console}, "release", func(task report.Task) (err error) {
		outcome, err = release.Publish(ctx, p.request, task)
		return err
	})
	if ctx.Err() != nil && len(p.request.Builds) > 0 {
		undo := p.takeBack(ctx, journal)
		p.unfinished = undo != nil // the post stage tries once more
		return joinUndo(err, undo)
	}
	if err != nil {
		return err
	}
	return p.published(outcome)
}

// published says where it is, and what is still missing.
func (c *cell) published(o release.Outcome) error {
	switch {
	case !o.Draft:
		c.summary.fact("release", "[%s](%s)", escape(o.Tag), o.URL)
	case len(o.Missing) > 0:
		c.console.line("the release stays a draft until these are there: %s", strings.Join(o.Missing, "; "))
		c.summary.fact("release", "a draft, until these are there: %s", escape(strings.Join(o.Missing, "; ")))
	default:
		c.summary.fact("release", "[%s](%s), a draft", escape(o.Tag), o.URL)
	}
	for _, ami := range o.AMIs {
		c.summary.fact("AMI in "+ami.Region, "%s", code(ami.ID))
	}
	return c.setOutputs(releaseOutputs(o.URL, o.ReleaseID))
}

// withdrawal is what a cancelled run takes back.
type withdrawal struct {
	Tag       string        `json:"tag"`
	ReleaseID int64         `json:"release_id,omitempty"`
	Version   string        `json:"version"`
	Cells     []release.Ref `json:"cells"`
}

// withdrawTime bounds the clean-up: the runner waits ten seconds for a
// cancelled step, and kills what is left later.
const withdrawTime = time.Minute

func (c *cell) takeBack(ctx context.Context, w withdrawal) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTime)
	defer cancel()
	client, err := c.client()
	if err != nil {
		return err
	}
	return report.Do(reporter{c.console}, "take back", func(task report.Task) error {
		return release.Withdraw(ctx, release.Request{Client: client, Tag: w.Tag, ReleaseID: w.ReleaseID}, w.Cells, w.Version, task)
	})
}

func joinUndo(err, undo error) error {
	if undo == nil {
		return err
	}
	return fmt.Errorf("%w; and it could not be taken back: %w", err, undo)
}

// closeRelease is command: release, for a job after all others.
func (c *cell) closeRelease(ctx context.Context) error {
	var err error
	c.in.publish = publishTrue
	if c.decision, err = decide(c.github, c.in); err != nil {
		return err
	}
	if !c.decision.publish {
		c.console.line("nothing to close: %s", c.decision.why)
		return nil
	}
	request, err := c.releaseRequest(ctx)
	if err != nil {
		return err
	}
	request.Job = nil
	var outcome release.Outcome
	err = report.Do(reporter{c.console}, "release", func(task report.Task) (err error) {
		outcome, err = release.Publish(ctx, request, task)
		return err
	})
	if err != nil {
		return err
	}
	c.summary.title = "release " + outcome.Tag
	if err := c.published(outcome); err != nil {
		return err
	}
	if len(outcome.Missing) > 0 {
		return fault.Errorf(fault.Input, "release %s is not complete: %s; run the jobs that build them, or set complete-when: matrix", outcome.Tag, strings.Join(outcome.Missing, "; "))
	}
	return c.addSummary(c.summary.markdown())
}
