package verify

import (
	"context"
	"fmt"
	"path/filepath"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/vm"
)

// cloudInit makes a seed disk for cloud-init's NoCloud source: an ISO 9660
// volume called cidata with two files, which every cloud image looks for.
func cloudInit(ctx context.Context, dir string) (entry, error) {
	signer, line, err := ssh.NewKey()
	if err != nil {
		return entry{}, err
	}
	user := fmt.Sprintf("#cloud-config\ndisable_root: false\nusers:\n  - default\n  - name: root\n    lock_passwd: false\n    ssh_authorized_keys:\n      - %s", line)
	files := map[string]string{"user-data": user, "meta-data": "instance-id: imagebuild-test\nlocal-hostname: imagebuild-test\n"}
	iso := filepath.Join(dir, "seed.iso")
	argv := []string{"xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-V", "cidata", "-J", "-R"}
	for _, name := range []string{"user-data", "meta-data"} {
		path := filepath.Join(dir, name)
		if err := writeFile(path, files[name]); err != nil {
			return entry{}, err
		}
		argv = append(argv, path)
	}
	if err := run.Run(ctx, run.Spec{Argv: argv}); err != nil {
		return entry{}, fmt.Errorf("make the seed disk: %w", err)
	}
	return entry{
		how: "a key for this boot, through a cloud-init seed disk", user: "root", keys: []gossh.Signer{signer},
		disks:  []vm.Disk{{Path: iso, Format: "raw", CDROM: true}},
		remedy: "the image has to run cloud-init with the NoCloud source enabled, and an ssh server that lets root in by key",
	}, nil
}
