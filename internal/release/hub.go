package release

import (
	"context"
	"io"
)

// state of an asset that is whole. Everything else is an upload that broke off,
// or one that runs.
const uploaded = "uploaded"

// remote is a release as GitHub has it.
type remote struct {
	ID                           int64
	Tag, Name, Body, URL         string
	Draft, Prerelease, Immutable bool
	uploadURL                    string
}

// asset is one of its assets.
type asset struct {
	ID        int64
	Name      string
	State     string
	SizeBytes int64
	SHA256    string // empty: the server does not say
}

func (a *asset) file() File { return File{a.Name, a.SizeBytes, a.SHA256} }

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

// hub is what this package needs of GitHub. A release, asset or file that is
// not there is nil without an error.
type hub interface {
	byTag(ctx context.Context, tag string) (*remote, error)
	byID(ctx context.Context, id int64) (*remote, error)
	latest(ctx context.Context) (*remote, error)
	drafts(ctx context.Context, tag string) ([]*remote, error)
	create(ctx context.Context, tag, commit string) (*remote, error)
	edit(ctx context.Context, id int64, change edit) (*remote, error)
	remove(ctx context.Context, id int64) error

	assets(ctx context.Context, id int64) ([]asset, error)
	upload(ctx context.Context, to *remote, want File, open opener, progress func(done int64)) (*asset, error)
	download(ctx context.Context, id int64) (io.ReadCloser, error)
	removeAsset(ctx context.Context, id int64) error

	file(ctx context.Context, branch, path string) ([]byte, error)
	commit(ctx context.Context, branch, path, message string, change func(old []byte) ([]byte, error)) (changed bool, err error)
}

// edit is what changes of a release; nil stays.
type edit struct {
	Name, Body, MakeLatest *string
	Draft, Prerelease      *bool
}
