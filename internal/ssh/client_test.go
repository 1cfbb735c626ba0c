package ssh

import (
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestVagrantKeys(t *testing.T) {
	signers, err := VagrantKeys()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"SHA256:1M4RzhMyWuFS/86uPY/ce2prh/dVTHW7iD2RhpquOZA",
		"SHA256:",
	} {
		t.Log(ssh.FingerprintSHA256(signers[i].PublicKey()), want)
	}
}
