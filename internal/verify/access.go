package verify

import (
	"context"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/image"
)

// way is how the guest is entered: as asked for, or else by what suits the
// artifact, Vagrant's public key for a box, and for everything else a key made
// for this one boot and passed in from outside.
func way(ctx context.Context, access entry.Access, of *artifact.Artifact, dir string) (entry.Way, error) {
	return access.Way(ctx, dir, nil, func(seed []byte) (entry.Way, error) {
		if of.Kind == image.Box {
			return entry.Vagrant()
		}
		return entry.CredentialsOnce(seed)
	})
}
