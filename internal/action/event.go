package action

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/imagebuild-action/internal/fault"
)

// decision is what the event asks for.
type decision struct {
	publish   bool
	why       string // in a sentence, for the log and the summary
	tag       string // of the release; empty: v and the image's version
	version   string // of the image; empty: the template's
	releaseID int64  // of the release; zero: found or made by its tag
	fork      bool   // a pull request from another repository
}

// decide says whether this run publishes, and as what.
func decide(github *githubactions.GitHubContext, in inputs) (decision, error) {
	d := decision{tag: in.tag, version: in.version, releaseID: in.releaseID}
	var err error
	switch event := github.EventName; {
	case event == "pull_request_target":
		err = refuseForeignCode(github)
		d.why = "pull requests are built and booted, never published"
	case strings.HasPrefix(event, "pull_request"), event == "merge_group":
		d.fork = fromFork(github)
		d.why = "pull requests are built and booted, never published"
	case in.publish == publishFalse:
		d.why = "the input publish is false"
	case event == "release":
		d.publish, d.why = true, "a release was made"
		release, _ := github.Event["release"].(map[string]any)
		if id, ok := release["id"].(float64); ok && d.releaseID == 0 {
			d.releaseID = int64(id)
		}
		if tag, ok := release["tag_name"].(string); ok && d.tag == "" {
			d.tag = tag
		}
	case event == "push" && github.RefType == "tag":
		d.publish, d.why = true, "the tag "+github.RefName+" was pushed"
		if d.tag == "" {
			d.tag = github.RefName
		}
	case in.publish == publishTrue:
		d.publish, d.why = true, "the input publish is true"
	default:
		d.why = fmt.Sprintf("%s of %s publishes nothing unless the input publish is true", event, github.RefName)
	}
	if err != nil || !d.publish || d.version != "" || d.tag == "" {
		return d, err
	}
	d.version, err = versionOf(d.tag)
	return d, err
}

// tagVersion finds the version in a tag: alone, after a "v", or after the name
// of the image where a repository has several, as in golden-v1.2.3, web/1.2.3
// or debian-12-v1.2.3. The version itself is what RubyGems, and so Vagrant,
// takes for one (Gem::Version::VERSION_PATTERN), without white space.
var tagVersion = regexp.MustCompile(`^(?:.*/|.*[-@_]v|(?:[A-Za-z][0-9A-Za-z.]*[-@_])+)??` +
	`v?([0-9]+(?:\.[0-9A-Za-z]+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)$`)

func versionOf(tag string) (string, error) {
	if m := tagVersion.FindStringSubmatch(tag); m != nil {
		return m[1], nil
	}
	return "", fault.Errorf(fault.Input,
		"the tag %q is not a version; push a tag such as v1.2.3 or golden-v1.2.3, or set the input version", tag)
}

// fromFork tells whether a pull request comes from another repository: its
// token can only read, and it sees no secret.
func fromFork(github *githubactions.GitHubContext) bool {
	pull, _ := github.Event["pull_request"].(map[string]any)
	head, _ := pull["head"].(map[string]any)
	repository, _ := head["repo"].(map[string]any)
	name, ok := repository["full_name"].(string)
	return ok && name != github.Repository
}

// refuseForeignCode lets a pull_request_target job build what the base branch
// holds, and nothing else: the job has the repository's secrets and a token
// that can write, and a template is code
// (docs.github.com, "Events that trigger workflows", pull_request_target).
func refuseForeignCode(github *githubactions.GitHubContext) error {
	head, err := headCommit(github.Workspace)
	if err == nil && head == github.SHA {
		return nil
	}
	return fault.Errorf(fault.Input, "this job runs under pull_request_target, with the repository's secrets, and its checkout is not "+
		"the base branch (%.12s); a template is code, so nothing of it is run: use on: pull_request", github.SHA)
}

// headCommit reads which commit is checked out, without running git in a
// folder that may be another user's.
func headCommit(workspace string) (string, error) {
	dir := filepath.Join(workspace, ".git")
	text, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	if err != nil {
		return "", err
	}
	ref, symbolic := strings.CutPrefix(strings.TrimSpace(string(text)), "ref: ")
	if !symbolic {
		return ref, nil
	}
	if !filepath.IsLocal(ref) {
		return "", fmt.Errorf("HEAD names %q", ref)
	}
	if text, err := os.ReadFile(filepath.Join(dir, ref)); err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	packed, err := os.ReadFile(filepath.Join(dir, "packed-refs"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(packed)) {
		if id, name, _ := strings.Cut(strings.TrimSpace(line), " "); name == ref {
			return id, nil
		}
	}
	return "", fmt.Errorf("%s is in no ref", ref)
}
