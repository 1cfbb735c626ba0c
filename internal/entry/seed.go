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

// CloudInit makes a seed disk in dir for cloud-init's NoCloud source: an ISO
// 9660 volume called cidata with two files, which every cloud image looks for.
// It lets root in by the key that the key's seed stands for.
func CloudInit(ctx context.Context, dir string, seed []byte) (Way, error) {
	signer, line, err := ssh.SeedKey(seed)
	if err != nil {
		return Way{}, err
	}
	user := fmt.Sprintf("#cloud-config\ndisable_root: false\nusers:\n  - default\n  - name: root\n    lock_passwd: false\n    ssh_authorized_keys:\n      - %s", line)
	files := map[string]string{"user-data": user, "meta-data": "instance-id: imagebuild-test\nlocal-hostname: imagebuild-test\n"}
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
		CleanUp: []string{"sh", "-c", forgetKeys},
		Remedy:  "the image has to run cloud-init with the NoCloud source enabled, and an ssh server that lets root in by key",
	}, nil
}

// forgetKeys takes the lines that cloud-init wrote for us out of root's file of
// keys, and the file if it holds no other. Our keys carry our name.
const forgetKeys = `f=/root/.ssh/authorized_keys; [ -e $f ] || exit 0; sed -i '/ imagebuild$/d' $f; [ -s $f ] || rm -f $f`
