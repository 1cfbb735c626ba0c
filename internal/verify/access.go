package verify

import (
	"context"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
)

// Access is how the guest is entered. The zero value takes what suits the
// artifact: Vagrant's public key for a box, and for everything else a key made
// for this one boot and passed in from outside.
type Access struct {
	User string         // an account of the image's own, which may use sudo
	Keys []gossh.Signer // that the image accepts for it
	// CloudInit passes the key in a seed disk, for images with cloud-init.
	CloudInit bool
}

func (a Access) resolve(ctx context.Context, of *artifact.Artifact, dir string) (entry.Way, error) {
	switch {
	case len(a.Keys) > 0:
		return entry.Given(a.User, a.Keys), nil
	case a.CloudInit:
		return entry.CloudInit(ctx, dir)
	case of.Kind == image.Box:
		return entry.Vagrant()
	case a.User != "":
		return entry.Way{}, fault.Errorf(fault.Input, "an ssh user without a key: give --ssh-key too")
	}
	return entry.Credentials()
}
