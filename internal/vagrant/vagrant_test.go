package vagrant_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/vagrant"
)

var epoch = time.Unix(1700000000, 0).UTC()

// memory is a testkit.Tree of the time epoch.
type memory map[string]string

func (m memory) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	return testkit.Tree{Files: m, ModTime: epoch}.Walk(ctx, fn)
}

func base() memory {
	return memory{
		"usr/bin/sudo": "elf", "usr/bin/bash": "elf", "home/": "",
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "etc/group": "root:x:0:\nsudo:x:27:\n",
		"etc/shadow": "root:*:1::::::\n", "etc/gshadow": "root:*::\n",
	}
}

// changed lists what the overlay made of base.
func changed(t *testing.T, base memory, result image.Tree) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := result.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
		old, was := base[e.Path]
		if e.Type == image.Directory {
			if _, was = base[e.Path+"/"]; !was && strings.HasPrefix(e.Path, "home/") {
				found[e.Path] = fmt.Sprintf("%04o %d:%d", e.Mode, e.UID, e.GID)
			}
			return nil
		}
		data, err := io.ReadAll(content)
		if !was || old != string(data) {
			found[e.Path] = fmt.Sprintf("%04o %d:%d %s", e.Mode, e.UID, e.GID, strings.TrimPrefix(string(data), old))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestOverlay(t *testing.T) {
	plain := map[string]string{
		"etc/passwd":                        "0640 0:0 vagrant:x:1000:1000::/home/vagrant:/bin/bash\n",
		"etc/group":                         "0640 0:0 vagrant:x:1000:\n",
		"etc/shadow":                        "0640 0:0 vagrant:*::0:99999:7:::\n",
		"etc/gshadow":                       "0640 0:0 vagrant:!::\n",
		"etc/sudoers.d/vagrant":             "0440 0:0 vagrant ALL=(ALL:ALL) NOPASSWD: ALL\n",
		"home/vagrant":                      "0755 1000:1000",
		"home/vagrant/.ssh":                 "0700 1000:1000",
		"home/vagrant/.ssh/authorized_keys": "0600 1000:1000 " + vagrant.InsecureKeys,
	}
	with := func(changes map[string]string, without ...string) map[string]string {
		m := map[string]string{}
		for name, content := range plain {
			m[name] = content
		}
		for name, content := range changes {
			m[name] = content
		}
		for _, name := range without {
			delete(m, name)
		}
		return m
	}
	const include = "Include /etc/ssh/sshd_config.d/*.conf\n"
	for _, test := range []struct {
		name string
		more map[string]string
		want map[string]string
	}{
		{"plain", nil, plain},
		{"uid taken, subordinate ids, skeleton", map[string]string{
			"etc/passwd": "root:x:0:0:root:/root:/bin/bash\nops:x:1000:1000::/home/ops:/bin/sh\n", "etc/group": "ops:x:1000:\nx:x:1001:",
			"etc/subuid": "ops:100000:65536\n", "etc/subgid": "", "etc/skel/.profile": "p", "etc/skel/.config/": "",
		}, map[string]string{
			"etc/passwd": "0640 0:0 vagrant:x:1002:1002::/home/vagrant:/bin/bash\n", "etc/group": "0640 0:0 \nvagrant:x:1002:\n",
			"etc/shadow": plain["etc/shadow"], "etc/gshadow": plain["etc/gshadow"], "etc/sudoers.d/vagrant": plain["etc/sudoers.d/vagrant"],
			"etc/subuid": "0640 0:0 vagrant:165536:65536\n", "etc/subgid": "0640 0:0 vagrant:100000:65536\n",
			"home/vagrant": "0755 1002:1002", "home/vagrant/.profile": "0640 1002:1002 p", "home/vagrant/.config": "0755 1002:1002",
			"home/vagrant/.ssh": "0700 1002:1002", "home/vagrant/.ssh/authorized_keys": "0600 1002:1002 " + vagrant.InsecureKeys,
		}},
		{"the template made the user", map[string]string{
			"etc/passwd":                        "vagrant:x:1500:1501::/home/vagrant:/bin/sh\n",
			"home/vagrant/.ssh/authorized_keys": "ssh-ed25519 AAAAown x", "home/vagrant/": "", "home/vagrant/.ssh/": "",
		}, map[string]string{
			"etc/sudoers.d/vagrant":             plain["etc/sudoers.d/vagrant"],
			"home/vagrant/.ssh/authorized_keys": "0600 1500:1501 \n" + vagrant.InsecureKeys,
		}},
		{"sshd names users, with drop-ins", map[string]string{
			"etc/ssh/sshd_config": include, "etc/ssh/sshd_config.d/10-a.conf": "# AllowGroups no\nallowusers ops\nAllowGroups=ops\n",
		}, with(map[string]string{"etc/ssh/sshd_config.d/00-vagrant.conf": "0644 0:0 AllowUsers vagrant\nAllowGroups vagrant\n"})},
		{"sshd names groups, one file", map[string]string{
			"etc/ssh/sshd_config": "AllowGroups ops\n",
		}, with(map[string]string{"etc/ssh/sshd_config": "0640 0:0 AllowGroups vagrant\nAllowGroups ops\n"})},
		{"sshd names users in a Match block only", map[string]string{
			"etc/ssh/sshd_config": include + "Match Address 192.0.2.0/24\nAllowUsers ops\n",
		}, plain},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := base()
			for name, content := range test.more {
				tree[name] = content
			}
			result, differences, err := vagrant.Overlay(t.Context(), tree, epoch)
			if err != nil {
				t.Fatal(err)
			}
			got := changed(t, tree, result)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			listed := map[string]bool{}
			for _, d := range differences {
				listed[d.Path] = true
			}
			for name := range got {
				if !listed[name] {
					t.Errorf("%s is not among the differences", name)
				}
			}
			// The overlay of the overlay changes nothing more.
			again, _, err := vagrant.Overlay(t.Context(), result, epoch)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, changed(t, tree, again)); diff != "" {
				t.Errorf("twice is not once: %s", diff)
			}
		})
	}
}

func TestOverlayRefuses(t *testing.T) {
	for _, missing := range []string{"usr/bin/sudo", "etc/passwd"} {
		tree := base()
		delete(tree, missing)
		if _, _, err := vagrant.Overlay(t.Context(), tree, epoch); fault.KindOf(err) != fault.Input {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := vagrant.Overlay(ctx, base(), epoch); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The keys are typed in by hand: ssh-keygen says whether they are keys.
func TestInsecureKeysAreKeys(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), testkit.Tool(t, "ssh-keygen"), "-l", "-f", "-")
	cmd.Stdin = strings.NewReader(vagrant.InsecureKeys)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 2 || !strings.Contains(string(out), "(RSA)") || !strings.Contains(string(out), "(ED25519)") {
		t.Errorf("%v: %s", err, out)
	}
}
