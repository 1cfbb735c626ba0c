package release_test

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// libvirtBox is the least that Vagrant takes for a box of libvirt.
func libvirtBox(t *testing.T, disk string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, member := range [][2]string{{"metadata.json", `{"provider": "libvirt", "format": "qcow2", "virtual_size": 1}`}, {"box.img", disk}} {
		if err := w.WriteHeader(&tar.Header{Name: member[0], Mode: 0o644, Size: int64(len(member[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(member[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestVagrant lets Vagrant itself take a box from the catalog on the Pages
// branch, over HTTP, and then the next release's.
func TestVagrant(t *testing.T) {
	testkit.Whole(t, "starts Vagrant many times")
	testkit.Tool(t, "vagrant")
	home := t.TempDir()
	vagrant := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "vagrant", args...)
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "VAGRANT_HOME="+home, "VAGRANT_CHECKPOINT_DISABLE=1", "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost")
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("vagrant %v: %v\n%s", args, err, text)
		}
		return string(text)
	}
	server := githubtest.New(t, githubtest.Options{})
	releaseVersion := func(version string) {
		t.Helper()
		r := request(t, server, load(t, spec{
			name: "golden", version: version, built: refs("golden", "libvirt", "libvirt/arm64"), catalog: true, pages: "gh-pages", box: libvirtBox(t, "the disk of "+version),
		}))
		r.Tag = "v" + version
		if !publish(t, r).Closed {
			t.Fatal("not closed")
		}
	}
	releaseVersion("1.0.0")
	vagrant("box", "add", server.PagesURL()+"/vagrant/golden.json", "--provider", "libvirt")
	if list := vagrant("box", "list"); !strings.Contains(list, "octo/golden (libvirt, 1.0.0") {
		t.Fatalf("box list: %s", list)
	}
	if text := vagrant("box", "outdated", "--global"); !strings.Contains(text, "up to date") {
		t.Errorf("box outdated: %s", text)
	}
	releaseVersion("1.1.0")
	if text := vagrant("box", "outdated", "--global"); !strings.Contains(text, "is outdated! Current: 1.0.0. Latest: 1.1.0") {
		t.Errorf("box outdated: %s", text)
	}
	vagrant("box", "update", "--box", "octo/golden", "--provider", "libvirt")
	list := vagrant("box", "list")
	if !strings.Contains(list, "octo/golden (libvirt, 1.1.0") {
		t.Errorf("box list: %s", list)
	}
	for _, r := range server.Releases() {
		for _, a := range r.Assets {
			if strings.HasSuffix(a.Name, "libvirt-amd64.box") != (a.Downloads > 0) {
				t.Errorf("%s of %s: %d downloads", a.Name, r.Tag, a.Downloads)
			}
		}
	}
	t.Log(list)
}
