package verify

import (
	"context"
	"encoding/base64"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/vm"
)

// Access is how the guest is entered. The zero value takes what suits the
// artifact: Vagrant's public key for a box, and for everything else a key made
// for this one boot and passed in from outside, through the firmware's tables,
// to systemd 252 or newer. The image itself needs nothing for it.
type Access struct {
	User string         // an account of the image's own, which may use sudo
	Keys []gossh.Signer // that the image accepts for it
	// CloudInit passes the key in a seed disk, for images with cloud-init.
	CloudInit bool
}

// entry is a way in, worked out.
type entry struct {
	how        string
	user       string
	keys       []gossh.Signer
	oemStrings []string
	disks      []vm.Disk
	cleanUp    []string // a command that removes our traces before the tests
	remedy     string   // what to do if it does not work
}

func (a Access) resolve(ctx context.Context, of *artifact.Artifact, dir string) (entry, error) {
	switch {
	case len(a.Keys) > 0:
		user := a.User
		if user == "" {
			user = "root"
		}
		return entry{
			how: "the key given, as " + user, user: user, keys: a.Keys,
			remedy: "check that the image has the account " + user + " and accepts the key for it",
		}, nil
	case a.CloudInit:
		return cloudInit(ctx, dir)
	case of.Kind == image.Box:
		keys, err := ssh.VagrantKeys()
		return entry{
			how: "Vagrant's public key", user: ssh.VagrantUser, keys: keys,
			remedy: "a Vagrant box needs the user vagrant with Vagrant's public insecure key and password-less sudo; if it has another, give --ssh-user and --ssh-key",
		}, err
	case a.User != "":
		return entry{}, fault.Errorf(fault.Input, "an ssh user without a key: give --ssh-key too")
	}
	return systemdCredentials()
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

// systemdCredentials passes a key through SMBIOS type 11 strings, which
// systemd imports as credentials; one of them is a tmpfiles.d(5) fragment that
// puts files into the running guest before sshd starts. See
// systemd.system-credentials(7).
func systemdCredentials() (entry, error) {
	signer, line, err := ssh.NewKey()
	if err != nil {
		return entry{}, err
	}
	encode := base64.StdEncoding.EncodeToString
	fragment := strings.Join([]string{
		"d " + guestDir + " 0755 root root -",
		"f+~ " + guestKeys + " 0600 root root - " + encode([]byte(line)),
		"f+~ " + sshdDropIn + " 0600 root root - " + encode([]byte(sshdConfig)),
	}, "\n") + "\n"
	return entry{
		how: "a key for this boot, through systemd credentials", user: "root", keys: []gossh.Signer{signer},
		oemStrings: []string{
			"io.systemd.credential.binary:tmpfiles.extra=" + encode([]byte(fragment)),
			// Where the folder of drop-ins is not read, root's own file may be.
			"io.systemd.credential.binary:ssh.authorized_keys.root=" + encode([]byte(line)),
		},
		cleanUp: []string{"rm", "-f", sshdDropIn},
		remedy: "the image has to run systemd 252 or newer and an OpenSSH server that reads /etc/ssh/sshd_config.d; " +
			"for others give --ssh-user and --ssh-key, or --cloud-init",
	}, nil
}
