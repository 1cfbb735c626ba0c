// Package entry is how we get into a machine that was just started: by which
// account and key, how the guest comes to know the key, and how we make sure
// that it is the machine which we started and no other.
//
//	way, err := entry.Access{}.Way(ctx, dir, nil, entry.Credentials)
//	config.OEMStrings = way.OEMStrings
//	machine, err := vm.Start(ctx, config)
//	client, seen, err := way.Enter(ctx, entry.Door{Addr: machine.SSHAddr(), UUID: config.UUID, Timeout: 10 * time.Minute})
//
// It refuses passwords: a key that nobody else has is always to be had.
package entry

import (
	"encoding/base64"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/ssh"
)

// Way is a way in, worked out.
type Way struct {
	How        string // in a few words, for people
	User       string // an account that is root, or may use sudo without a password
	Keys       []gossh.Signer
	Seed       []byte   // of the one key, if it was made for this machine
	OEMStrings []string // SMBIOS type 11, for the machine
	SeedISO    string   // file of an optical disk for the machine; empty means none
	CleanUp    []string // a command that removes our traces from the running guest
	Remedy     string   // what to do if it does not work
}

// Given is the way for those who have an account and keys. An empty user is
// root.
func Given(user string, keys []gossh.Signer) Way {
	if user == "" {
		user = "root"
	}
	return Way{
		How: "the key given, as " + user, User: user, Keys: keys,
		Remedy: "check that the image has the account " + user + " and accepts the key for it",
	}
}

// Vagrant is the way into a Vagrant box.
func Vagrant() (Way, error) {
	keys, err := ssh.VagrantKeys()
	return Way{
		How: "Vagrant's public key", User: ssh.VagrantUser, Keys: keys,
		Remedy: "a Vagrant box needs the user vagrant with Vagrant's public insecure key and password-less sudo; if it has another, give --ssh-user and --ssh-key, or in the template of a disk that is kept machine.user and machine.key",
	}, err
}

const (
	guestDir   = "/run/imagebuild"
	guestKeys  = guestDir + "/authorized_keys"
	sshdDropIn = "/etc/ssh/sshd_config.d/00-imagebuild-test.conf"
)

// sshdConfig lets root in by our key, whatever else the image's hardening
// says, and changes nothing for any other account: within a Match block the
// lists of users and groups replace the global ones, and as the file is read
// first its values win. (sshd_config(5); seen with OpenSSH 9.2.)
const sshdConfig = `Match User root
PermitRootLogin yes
PubkeyAuthentication yes
AuthenticationMethods publickey
AuthorizedKeysFile ` + guestKeys + `
AllowUsers root
AllowGroups root
DenyUsers imagebuild-nobody
DenyGroups imagebuild-nobody
ForceCommand none
ChrootDirectory none
MaxSessions 10
`

// Credentials passes the key that the seed stands for through an SMBIOS type
// 11 string, which systemd 252 and newer import as a credential: a
// tmpfiles.d(5) fragment that puts files into the running guest before sshd
// starts. The image itself needs nothing for it. See
// systemd.system-credentials(7).
func Credentials(seed []byte) (Way, error) {
	signer, line, err := ssh.SeedKey(seed)
	if err != nil {
		return Way{}, err
	}
	fragment := strings.Join([]string{
		"d " + guestDir + " 0755 root root -",
		"f+~ " + guestKeys + " 0600 root root - " + encode(line),
		"f+~ " + sshdDropIn + " 0600 root root - " + encode(sshdConfig),
	}, "\n") + "\n"
	return Way{
		How: "a key for this boot, through systemd credentials", User: "root", Keys: []gossh.Signer{signer}, Seed: seed,
		OEMStrings: []string{"io.systemd.credential.binary:tmpfiles.extra=" + encode(fragment)},
		CleanUp:    []string{"rm", "-f", sshdDropIn},
		Remedy: "the image has to run systemd 252 or newer and an OpenSSH server that reads /etc/ssh/sshd_config.d; " +
			"for others give --ssh-user and --ssh-key, or --cloud-init; in a template, machine.user and machine.key, or machine.cloud_init",
	}, nil
}

// CredentialsOnce is Credentials for a machine whose disk is thrown away: where
// the folder of drop-ins is not read, root's own file of keys may be, and gets
// the key too if there is none.
func CredentialsOnce(seed []byte) (Way, error) {
	way, err := Credentials(seed)
	if err != nil {
		return Way{}, err
	}
	_, line, err := ssh.SeedKey(seed)
	way.OEMStrings = append(way.OEMStrings, "io.systemd.credential.binary:ssh.authorized_keys.root="+encode(line))
	return way, err
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
