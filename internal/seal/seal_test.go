package seal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/seal"
	"github.com/org/imagebuild-action/internal/testkit"
)

var epoch = time.Unix(1700000000, 0).UTC()

// memory is a testkit.Tree that is newer than epoch.
type memory map[string]string

func (m memory) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	return testkit.Tree{Files: m, ModTime: epoch.Add(time.Hour), GID: 4}.Walk(ctx, fn)
}

// show lists everything but plain directories.
func show(t *testing.T, tree image.Tree) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := tree.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
		if e.ModTime.After(epoch) {
			t.Errorf("%s has the time %s", e.Path, e.ModTime)
		}
		switch e.Type {
		case image.File:
			data, err := io.ReadAll(content)
			found[e.Path] = string(data)
			return err
		case image.Symlink:
			found[e.Path] = "->" + e.Link
		case image.Directory:
			found[e.Path+"/"] = ""
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTree(t *testing.T) {
	base := memory{
		"etc/ssh/ssh_host_rsa_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n", "etc/ssh/ssh_host_rsa_key.pub": "ssh-rsa x",
		"etc/ssh/sshd_config": "UsePAM yes\n", "etc/machine-id": "0123456789abcdef0123456789abcdef\n", "etc/hostname": "runner-77\n",
		"etc/resolv.conf": "nameserver 192.0.2.1\n", "etc/passwd-": "old", "etc/systemd/system/": "", "usr/bin/ssh-keygen": "elf", "usr/sbin/sshd": "elf",
		"root/.bash_history": "make\n", "home/a/.bash_history": "ls\n", "home/a/.bashrc": "x",
		"home/a/.ssh/authorized_keys": "ssh-ed25519 AAAAkeep me\nssh-ed25519 AAAAbuild b\n",
		"var/log/dpkg.log":            "x", "var/log/wtmp": "x", "var/log/mysql/error.log": "x", "var/log/mysql/error.log.1.gz": "x", "var/log/journal/0123/system.journal": "x",
		"var/lib/apt/lists/deb_x_InRelease": "x", "var/lib/apt/lists/partial/": "", "var/cache/apt/archives/a.deb": "x", "var/lib/dhcp/dhclient.leases": "x",
		"var/lib/dbus/machine-id": "x", "var/lib/systemd/random-seed": "x", "var/lib/dpkg/status": "Package: a\n", "var/lib/dpkg/status-old": "x",
		"tmp/x/y": "x", "var/tmp/z": "x", "run/lock/": "", "dev/null": "x", "usr/lib/python3/a/__pycache__/a.pyc": "x", "usr/lib/python3/a/a.py": "x",
		"var/lib/cloud/instance": "->/var/lib/cloud/instances/i-1", "var/lib/cloud/instances/i-1/x": "x",
	}
	sealed, summary, err := seal.Tree(t.Context(), base, seal.Options{Epoch: epoch, BuildKeys: []string{"ssh-ed25519 AAAAbuild"}})
	if err != nil {
		t.Fatal(err)
	}
	got := show(t, sealed)
	for name, content := range got {
		if strings.HasSuffix(name, "/") && content == "" && !slices.Contains([]string{"tmp/", "run/", "dev/", "var/log/journal/", "var/lib/apt/lists/partial/"}, name) {
			delete(got, name)
		}
	}
	want := map[string]string{
		"etc/ssh/sshd_config": "UsePAM yes\n", "etc/machine-id": "", "etc/hostname": "localhost\n", "etc/hosts": got["etc/hosts"],
		"usr/bin/ssh-keygen": "elf", "usr/sbin/sshd": "elf", "home/a/.bashrc": "x", "home/a/.ssh/authorized_keys": "ssh-ed25519 AAAAkeep me\n",
		"var/log/wtmp": "", "var/log/mysql/error.log": "", "var/log/journal/": "", "var/lib/apt/lists/partial/": "", "var/lib/dpkg/status": "Package: a\n",
		"tmp/": "", "run/": "", "dev/": "", "usr/lib/python3/a/a.py": "x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, a := range summary {
		if a.Why == "" || a.What == "" {
			t.Errorf("%+v says too little", a)
		}
	}
	again, _, err := seal.Tree(t.Context(), sealed, seal.Options{Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(show(t, sealed), show(t, again)); diff != "" {
		t.Errorf("sealing twice is not sealing once: %s", diff)
	}
}

func TestEmptiedFilesKeepTheirOwner(t *testing.T) {
	sealed, _, err := seal.Tree(t.Context(), memory{"var/log/wtmp": "x"}, seal.Options{Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	_ = sealed.Walk(t.Context(), func(e *image.Entry, _ io.Reader) error {
		if e.Path == "var/log/wtmp" && (e.GID != 4 || e.Mode != 0o640 || !e.ModTime.Equal(epoch)) {
			t.Errorf("got %+v", e)
		}
		return nil
	})
}

func TestKeep(t *testing.T) {
	sealed, _, err := seal.Tree(t.Context(), memory{
		"tmp/a/keep": "x", "tmp/a/go": "x", "var/log/app/x.log": "x", "etc/resolv.conf": "x", "etc/hostname": "mine",
	}, seal.Options{Epoch: epoch, Keep: []string{"tmp/a/keep", "/var/log/app", "etc/resolv.conf", "etc/hostname"}})
	if err != nil {
		t.Fatal(err)
	}
	got := show(t, sealed)
	for name, want := range map[string]string{"tmp/a/keep": "x", "var/log/app/x.log": "x", "etc/resolv.conf": "x", "etc/hostname": "mine"} {
		if got[name] != want {
			t.Errorf("%s is %q", name, got[name])
		}
	}
	if _, ok := got["tmp/a/go"]; ok {
		t.Error("tmp/a/go is still there")
	}
}

func TestScan(t *testing.T) {
	key := "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEowIBAAKCAQEAabcdefghijklmnop\n"
	for _, test := range []struct {
		name, path, content string
		found               bool
	}{
		{"PEM key", "etc/ssl/private/a.key", key, true},
		{"PKCS 8 key with text before", "opt/app/b.pem", "x\n-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n", true},
		{"SSH key", "home/a/.ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n", true},
		{"key in usr/local", "usr/local/etc/c", key, true},
		{"key among a package's examples", "usr/share/doc/x/key.pem", key, false},
		{"words about a key", "etc/readme", "look for -----BEGIN PRIVATE KEY----- in it", false},
		{"public key", "etc/ssl/a.pem", "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0B\n", false},
		{"AWS key", "opt/env", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\n", true},
		{"not an AWS key", "opt/env", "AKIAIOSFODNN7EXAMPLEAKIA", false},
		{"GitHub token", "root/x", "token: ghp_" + strings.Repeat("a", 36), true},
		{"netrc", "root/.netrc", "machine x", true},
		{"AWS file", "home/a/.aws/credentials", "x", true},
		{"PuTTY", "opt/k.ppk", "PuTTY-User-Key-File-2: ssh-rsa", true},
		{"service account", "opt/sa.json", `{"private_key_id": "x"}`, true},
		{"password hash", "etc/shadow", "root:*:1::::::\na:$y$j9T$x:1::::::\n", true},
		{"locked hash", "etc/shadow", "a:!$y$j9T$x:1::::::\n", true},
		{"no passwords", "etc/shadow", "root:*:1::::::\na:!*:1::::::\nb:!:1::::::\nc::1::::::\n", false},
		{"empty", "opt/x", "", false},
	} {
		for _, allowed := range []bool{false, true} {
			options := seal.Options{Epoch: epoch}
			if allowed {
				options.Allow = []string{"/" + test.path}
			}
			_, _, err := seal.Tree(t.Context(), memory{test.path: test.content}, options)
			if want := test.found && !allowed; (err != nil) != want {
				t.Errorf("%s (allowed %v): %v", test.name, allowed, err)
			}
			if err == nil {
				continue
			}
			var findings seal.Findings
			if !errors.As(err, &findings) || findings[0].Path != test.path || fault.KindOf(err) != fault.Input {
				t.Errorf("%s: %v", test.name, err)
			}
		}
	}
}

type failing struct {
	memory
	at int
}

var errWalk = errors.New("walk failed")

func (f *failing) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	return f.memory.Walk(ctx, func(e *image.Entry, content io.Reader) error {
		if f.at--; f.at == 0 {
			return errWalk
		}
		return fn(e, content)
	})
}

func TestErrorsComeThrough(t *testing.T) {
	base := memory{"etc/passwd": "x", "etc/shadow": "x", "tmp/x": "x"}
	for n := 1; ; n++ {
		f := &failing{base, n}
		_, _, err := seal.Tree(t.Context(), f, seal.Options{Epoch: epoch})
		if f.at > 0 {
			break
		}
		if !errors.Is(err, errWalk) {
			t.Errorf("at %d: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := seal.Tree(ctx, base, seal.Options{Epoch: epoch}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	broken := reader{iotest.ErrReader(errWalk)}
	if _, _, err := seal.Tree(t.Context(), broken, seal.Options{Epoch: epoch}); !errors.Is(err, errWalk) {
		t.Errorf("got %v", err)
	}
}

// reader is a tree of one file.
type reader struct{ io.Reader }

func (r reader) Walk(_ context.Context, fn func(*image.Entry, io.Reader) error) error {
	return errors.Join(fn(&image.Entry{Path: ".", Type: image.Directory}, nil),
		fn(&image.Entry{Path: "a", Type: image.File, SizeBytes: 9}, r.Reader))
}

func BenchmarkTree(b *testing.B) {
	base := memory{}
	for i := range 20_000 {
		base[fmt.Sprintf("usr/share/d%d/f%d", i%100, i)] = "content"
	}
	for b.Loop() {
		if _, _, err := seal.Tree(b.Context(), base, seal.Options{Epoch: epoch}); err != nil {
			b.Fatal(err)
		}
	}
}
