package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// HostKey is what a server can be given to identify itself by, when a machine
// is made: who connects then knows that it is this machine and no other.
type HostKey struct {
	Public  ssh.PublicKey
	Private []byte // in OpenSSH's format
}

// NewHostKey makes one for a machine's life.
func NewHostKey() (HostKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return HostKey{}, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return HostKey{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, "imagebuild")
	if err != nil {
		return HostKey{}, fmt.Errorf("encode a host key: %w", err)
	}
	return HostKey{Public: signer.PublicKey(), Private: pem.EncodeToMemory(block)}, nil
}
