package entry

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/ssh"
)

// seedConfig lets root in, and has cloud-init do nothing else but make room: no
// account of the distribution's, no host name, no package sources, no work that
// goes on beside the build's steps. All that is done anew on every clone.
// The lists replace those of /etc/cloud/cloud.cfg.
const seedConfig = `#cloud-config
disable_root: false
preserve_hostname: true
cloud_init_modules: [growpart, resizefs, users-groups, ssh]
cloud_config_modules: []
cloud_final_modules: []
users:
  - name: root
    lock_passwd: false
    ssh_authorized_keys:
      - `

// CloudInit makes a seed disk in dir for cloud-init's NoCloud source: an ISO
// 9660 volume called cidata with two files, which every cloud image looks for.
// It lets root in by the key that the key's seed stands for.
func CloudInit(ctx context.Context, dir string, seed []byte) (Way, error) {
	signer, line, err := ssh.SeedKey(seed)
	if err != nil {
		return Way{}, err
	}
	files := map[string]string{"user-data": seedConfig + line, "meta-data": "instance-id: imagebuild-test\n"}
	iso := filepath.Join(dir, "seed.iso")
	argv := []string{"xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-V", "cidata", "-J", "-R"}
	for _, name := range []string{"user-data", "meta-data"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			return Way{}, run.Explain(err)
		}
		argv = append(argv, path)
	}
	if err := run.Run(ctx, run.Spec{Argv: argv}); err != nil {
		return Way{}, fmt.Errorf("make the seed disk: %w", err)
	}
	return Way{
		How: "a key for this boot, through a cloud-init seed disk", User: "root", Keys: []gossh.Signer{signer}, Seed: seed, SeedISO: iso,
		CleanUp: []string{"sh", "-c", forgetKeys + "\n" + forgetNetwork},
		Remedy:  "the image has to run cloud-init with the NoCloud source enabled, and an ssh server that lets root in by key",
	}, nil
}

// forgetKeys takes the lines that cloud-init wrote for us out of root's file of
// keys, and the file if it holds no other. Our keys carry our name.
const forgetKeys = `f=/root/.ssh/authorized_keys; if [ -e $f ]; then sed -i '/ imagebuild$/d' $f; [ -s $f ] || rm -f $f; fi`

// forgetNetwork takes what cloud-init wrote of this machine's network cards, in
// the place of what it may have written of another's. A clone's cloud-init
// writes it anew, if it is there and nobody told it to leave the network alone.
const forgetNetwork = `if command -v cloud-init >/dev/null && ! grep -rqsE '^[^#]*config: *.?disabled' /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d; then
	rm -f /etc/network/interfaces.d/50-cloud-init* /etc/netplan/50-cloud-init.yaml \
		/etc/systemd/network/10-cloud-init-*.network /etc/NetworkManager/system-connections/cloud-init-*.nmconnection
fi`
