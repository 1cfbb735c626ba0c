package entry

import (
	"context"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/ssh"
)

// Access is a way in that somebody asks for. The zero value asks for none.
type Access struct {
	User string         // an account of the image's own, which may use sudo; empty means root
	Keys []gossh.Signer // that the image accepts for it
	// CloudInit passes a key of ours in a seed disk, for images with cloud-init.
	CloudInit bool
}

// Way works it out: what is asked for, or else otherwise. Files go into dir. A
// seed of a key that was made before gives the same way again; nil makes one.
func (a Access) Way(ctx context.Context, dir string, seed []byte, otherwise func(seed []byte) (Way, error)) (Way, error) {
	if len(a.Keys) > 0 {
		return Given(a.User, a.Keys), nil
	}
	if a.User != "" {
		return Way{}, fault.Errorf(fault.Input, "an ssh user without a key: give its private key too")
	}
	if seed == nil {
		var err error
		if seed, err = ssh.NewSeed(); err != nil {
			return Way{}, err
		}
	}
	if a.CloudInit {
		return CloudInit(ctx, dir, seed)
	}
	return otherwise(seed)
}
