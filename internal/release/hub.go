package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"path/filepath"
	"strings"

	"github.com/org/imagebuild-action/internal/github"
)

// remote is a release as GitHub has it.
type remote = github.Release

// asset is one of its assets.
type asset struct {
	github.Asset
	SHA256 string // empty: the server does not say
}

// whole tells whether all its bytes are there. If not, an upload of it broke
// off, or runs.
func (a *asset) whole() bool { return a.State == github.Uploaded }

// find returns the asset of that name, or nil.
func find(assets []asset, name string) *asset {
	for i := range assets {
		if assets[i].Name == name {
			return &assets[i]
		}
	}
	return nil
}

// opener starts reading from the beginning, as often as it takes.
type opener func() (io.ReadCloser, error)

// hub is GitHub as this package sees it: a release that is not there is nil
// without an error.
type hub struct{ *github.Client }

func absent(r *remote, err error) (*remote, error) {
	if github.IsNotFound(err) {
		return nil, nil
	}
	return r, err
}

func (h hub) byTag(ctx context.Context, tag string) (*remote, error) {
	return absent(h.ReleaseByTag(ctx, tag))
}

func (h hub) byID(ctx context.Context, id int64) (*remote, error) {
	return absent(h.Release(ctx, id))
}

func (h hub) latest(ctx context.Context) (*remote, error) { return absent(h.LatestRelease(ctx)) }

func (h hub) edit(ctx context.Context, id int64, change github.ReleaseChange) (*remote, error) {
	return absent(h.UpdateRelease(ctx, id, change))
}

// drafts lists the drafts of a tag that the list shows by now.
func (h hub) drafts(ctx context.Context, tag string) ([]*remote, error) {
	all, err := h.Releases(ctx)
	if err != nil {
		return nil, err
	}
	var found []*remote
	for i := range all {
		if all[i].Draft && all[i].Tag == tag {
			found = append(found, &all[i])
		}
	}
	return found, nil
}

func (h hub) assets(ctx context.Context, release int64) ([]asset, error) {
	all, err := h.Assets(ctx, release)
	if err != nil {
		return nil, err
	}
	found := make([]asset, len(all))
	for i, each := range all {
		found[i] = known(each)
	}
	return found, nil
}

func known(a github.Asset) asset {
	digest, _ := strings.CutPrefix(a.Digest, "sha256:")
	if !digestPattern.MatchString(digest) {
		digest = ""
	}
	return asset{a, digest}
}

// upload sends a file once.
func (h hub) upload(ctx context.Context, to *remote, want File, open opener, progress func(int64)) (*asset, error) {
	got, err := h.Upload(ctx, to.UploadURL, github.File{
		Name: want.Name, SizeBytes: want.SizeBytes, ContentType: contentType(want.Name), Open: open, Progress: progress,
	})
	if err != nil {
		return nil, err
	}
	a := known(*got)
	return &a, nil
}

// contentType is what a browser is told of an asset.
func contentType(name string) string {
	switch filepath.Ext(name) {
	case ".json":
		return "application/json"
	case ".md":
		return "text/markdown"
	case "":
		return "text/plain"
	}
	return "application/octet-stream"
}

// again tells whether it makes sense to look, and then to upload once more.
// What is not found any more is the release, or an upload that somebody took
// for dead: the look will tell.
func again(err error) bool {
	return github.AlreadyExists(err) || github.OutcomeUnknown(err) || github.Temporary(err) || github.IsNotFound(err)
}

// reader streams an asset.
func (h hub) reader(ctx context.Context, a *asset) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(h.Download(ctx, a.Asset, w)) }()
	return r
}

// read returns a small asset.
func (h hub) read(ctx context.Context, a *asset, limit int64) ([]byte, error) {
	return h.ReadAsset(ctx, a.Asset, limit)
}

// downloadTries is how often an asset is read whose digest GitHub does not say.
const downloadTries = 3

// digest reads a whole asset for its digest.
func (h hub) digest(ctx context.Context, a *asset) (string, error) {
	for try := 1; ; try++ {
		sum := sha256.New()
		err := h.Download(ctx, a.Asset, sum)
		if err == nil {
			return hexOf(sum), nil
		}
		if try == downloadTries || !github.Temporary(err) {
			return "", err
		}
		if paused := h.Pause(ctx, try, err); paused != nil {
			return "", paused
		}
	}
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// file reads a file of a branch; nil if there is none.
func (h hub) file(ctx context.Context, branch, path string) ([]byte, error) {
	text, err := h.ReadFile(ctx, branch, path)
	if github.IsNotFound(err) {
		return nil, nil
	}
	return text, err
}

// create makes a draft. If the answer is lost, it may have been made all the
// same: then nil, and it has to be looked for.
func (h hub) create(ctx context.Context, tag, commit string) (*remote, error) {
	made, err := h.CreateRelease(ctx, github.NewRelease{Tag: tag, Target: commit, Name: tag, Body: pendingBody, Draft: true})
	if github.OutcomeUnknown(err) && ctx.Err() == nil {
		return nil, nil
	}
	return made, err
}
