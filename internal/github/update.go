package github

import (
	"bytes"
	"context"
	"errors"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/org/imagebuild-action/internal/fault"
)

// UpdateFile changes a file at path on a branch by what change makes of its
// content, nil where there is none. change is called anew when the branch moved
// meanwhile, so two that add to a file at once both do. It says whether there was
// anything to commit. Otherwise it is as CommitFile.
func (c *Client) UpdateFile(ctx context.Context, branch, path, message string, change func(old []byte) ([]byte, error)) (bool, error) {
	op := "update " + path + " on branch " + branch
	for attempt := 1; ; attempt++ {
		changed, err := c.updateOnce(ctx, op, branch, path, message, change)
		if err == nil {
			return changed, nil
		}
		var moved *movedError
		if !errors.As(err, &moved) && !OutcomeUnknown(err) || ctx.Err() != nil {
			return false, err
		}
		if attempt >= commitAttempts {
			return false, fault.Errorf(fault.Remote, "%s: the branch moved %d times: %w", op, attempt, err)
		}
		if paused := c.Pause(ctx, min(attempt, 4), err); paused != nil {
			return false, errors.Join(paused, err)
		}
	}
}

func (c *Client) updateOnce(ctx context.Context, op, branch, path, message string, change func([]byte) ([]byte, error)) (bool, error) {
	head, err := c.head(ctx, op, branch)
	if err != nil {
		return false, err
	}
	var old []byte
	base := ""
	var parents []*gogithub.Commit
	if head != "" {
		if old, err = c.ReadFile(ctx, head, path); err != nil && !IsNotFound(err) {
			return false, err
		}
		var commit gogithub.Commit
		if _, err := c.get(ctx, op, "/git/commits/"+head, &commit); err != nil {
			return false, err
		}
		base, parents = commit.GetTree().GetSHA(), []*gogithub.Commit{{SHA: &head}}
	}
	content, err := change(old)
	if err != nil || old != nil && bytes.Equal(old, content) {
		return false, err
	}
	made, err := c.newCommit(ctx, op, base, parents, path, content, message)
	if err != nil {
		return false, err
	}
	return true, c.moveBranch(ctx, op, branch, head, made)
}
