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

// algorithms are those by which a server proves that it has a key. It may have
// others besides, and would use one of them unless it was asked for this one.
func algorithms(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
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
