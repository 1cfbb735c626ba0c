package ssh

import (
	_ "embed" // the keys are data
	"fmt"

	"golang.org/x/crypto/ssh"
)

// The keys that every Vagrant box is born with, and that Vagrant replaces at
// the first "vagrant up". They are public: they protect nothing and are no
// secret. Source: the folder keys of the Vagrant project; RSA is what all
// versions know, Ed25519 what Vagrant 2.3.8 and newer try first.
var (
	//go:embed vagrant_rsa.pem
	vagrantRSA []byte
	//go:embed vagrant_ed25519.pem
	vagrantEd25519 []byte
)

// VagrantUser is the account that a Vagrant box is entered with.
const VagrantUser = "vagrant"

// VagrantKeys returns the public insecure keys.
func VagrantKeys() ([]ssh.Signer, error) {
	var signers []ssh.Signer
	for _, each := range [][]byte{vagrantRSA, vagrantEd25519} {
		signer, err := ssh.ParsePrivateKey(each)
		if err != nil {
			return nil, fmt.Errorf("insecure vagrant key: %w", err)
		}
		signers = append(signers, signer)
	}
	return signers, nil
}
