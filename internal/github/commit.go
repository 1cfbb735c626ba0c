package github

import (
	"context"
	"crypto/sha1" // git's object names
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/org/imagebuild-action/internal/fault"
)

// commitAttempts bounds how often CommitFile starts over because the branch
// moved under it. A dozen jobs may commit at once, and each time one gets through.
const commitAttempts = 20

// CommitFile makes content the content of the file at path on a branch, with
// one commit that touches nothing else, and returns the branch's commit. A branch
// that is not there begins with this commit, without a parent. If the content is there already
// nothing is committed. It starts over when the branch moved meanwhile.
func (c *Client) CommitFile(ctx context.Context, branch, path string, content []byte, message string) (string, error) {
	op := fmt.Sprintf("commit %s to branch %s", path, branch)
	for attempt := 1; ; attempt++ {
		sha, err := c.commitOnce(ctx, op, branch, path, content, message)
		if err == nil {
			return sha, nil
		}
		var moved *movedError
		if !errors.As(err, &moved) && !OutcomeUnknown(err) || ctx.Err() != nil {
			return "", err
		}
		if attempt >= commitAttempts {
			return "", fault.Errorf(fault.Remote, "%s: the branch moved %d times: %w", op, attempt, err)
		}
		if paused := c.Pause(ctx, min(attempt, 4), err); paused != nil {
			return "", errors.Join(paused, err)
		}
	}
}

// movedError says that another commit came first. It keeps only the text of
// GitHub's refusal: whose fault that is depends on what becomes of it.
type movedError struct{ refusal string }

func (e *movedError) Error() string { return e.refusal }

func (c *Client) commitOnce(ctx context.Context, op, branch, path string, content []byte, message string) (string, error) {
	head, err := c.head(ctx, op, branch)
	if err != nil {
		return "", err
	}
	base := ""
	var parents []*gogithub.Commit
	if head != "" {
		var commit gogithub.Commit
		if _, err := c.get(ctx, op, "/git/commits/"+head, &commit); err != nil {
			return "", err
		}
		same, err := c.hasContent(ctx, op, head, path, content)
		if err != nil {
			return "", err
		}
		if same {
			return head, nil
		}
		base, parents = commit.GetTree().GetSHA(), []*gogithub.Commit{{SHA: &head}}
	}
	made, err := c.newCommit(ctx, op, base, parents, path, content, message)
	if err != nil {
		return "", err
	}
	return made, c.moveBranch(ctx, op, branch, head, made)
}

// head returns the commit of a branch, nothing if there is no such branch.
func (c *Client) head(ctx context.Context, op, branch string) (string, error) {
	var ref gogithub.Reference
	_, err := c.get(ctx, op, "/git/ref/heads/"+escapePath(branch), &ref)
	if IsNotFound(err) {
		return "", nil
	}
	return ref.GetObject().GetSHA(), err
}

// hasContent compares by git's name of the content, so nothing is fetched.
func (c *Client) hasContent(ctx context.Context, op, commit, path string, content []byte) (bool, error) {
	var file struct {
		Type string `json:"type"`
		SHA  string `json:"sha"`
	}
	_, err := c.get(ctx, op, "/contents/"+escapePath(path)+"?ref="+commit, &file)
	if IsNotFound(err) {
		return false, nil
	}
	digest := sha1.New()
	_, _ = fmt.Fprintf(digest, "blob %d\x00%s", len(content), content)
	return file.Type == "file" && file.SHA == hex.EncodeToString(digest.Sum(nil)), err
}

// newCommit makes objects that nothing refers to yet; making them twice is
// harmless, so a lost answer is asked for again.
func (c *Client) newCommit(ctx context.Context, op, base string, parents []*gogithub.Commit, path string, content []byte, message string) (string, error) {
	encoded, encoding := base64.StdEncoding.EncodeToString(content), "base64"
	var blob *gogithub.Blob
	_, err := c.do(ctx, op, repeatable, func(ctx context.Context) (resp *gogithub.Response, err error) {
		blob, resp, err = c.gh.Git.CreateBlob(ctx, c.owner, c.name, &gogithub.Blob{Content: &encoded, Encoding: &encoding})
		return resp, err
	})
	if err != nil {
		return "", err
	}
	mode, kind := "100644", "blob"
	var tree *gogithub.Tree
	_, err = c.do(ctx, op, repeatable, func(ctx context.Context) (resp *gogithub.Response, err error) {
		tree, resp, err = c.gh.Git.CreateTree(ctx, c.owner, c.name, base, []*gogithub.TreeEntry{{Path: &path, Mode: &mode, Type: &kind, SHA: blob.SHA}})
		return resp, err
	})
	if err != nil {
		return "", err
	}
	var commit *gogithub.Commit
	_, err = c.do(ctx, op, repeatable, func(ctx context.Context) (resp *gogithub.Response, err error) {
		commit, resp, err = c.gh.Git.CreateCommit(ctx, c.owner, c.name, &gogithub.Commit{Message: &message, Tree: tree, Parents: parents}, nil)
		return resp, err
	})
	return commit.GetSHA(), err
}

func (c *Client) moveBranch(ctx context.Context, op, branch, from, to string) error {
	method, path, in := http.MethodPatch, "/git/refs/heads/"+escapePath(branch), map[string]any{"sha": to, "force": false}
	s := repeatable
	if from == "" {
		method, path, in, s = http.MethodPost, "/git/refs", map[string]any{"ref": "refs/heads/" + branch, "sha": to}, once
	}
	_, err := c.call(ctx, op, s, method, path, in, nil)
	if raced(err) {
		return &movedError{err.Error()}
	}
	return err
}

// raced tells another commit's coming first from a rule that forbids this one,
// which GitHub answers with the same status.
func raced(err error) bool {
	var failed *Error
	if !errors.As(err, &failed) {
		return false
	}
	message := strings.ToLower(failed.Message)
	return failed.Status == http.StatusConflict || failed.Status == http.StatusUnprocessableEntity &&
		(strings.Contains(message, "fast forward") || strings.Contains(message, "already exists") || strings.Contains(message, "does not exist"))
}

// ReadFile returns a file of a branch, tag or commit. IsNotFound says that
// there is none.
func (c *Client) ReadFile(ctx context.Context, ref, path string) ([]byte, error) {
	var content []byte
	op := fmt.Sprintf("read %s of branch %s", path, ref)
	_, err := c.do(ctx, op, repeatable, func(ctx context.Context) (*gogithub.Response, error) {
		req, err := c.gh.NewRequest(http.MethodGet, c.path("/contents/"+escapePath(path)+"?ref="+url.QueryEscape(ref)), nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", "application/vnd.github.raw+json")
		resp, err := c.gh.BareDo(ctx, req)
		if err != nil {
			return resp, err
		}
		defer resp.Body.Close()
		content, err = io.ReadAll(resp.Body)
		return resp, err
	})
	return content, err
}

// escapePath keeps the slashes of a path.
func escapePath(path string) string { return (&url.URL{Path: path}).EscapedPath() }
