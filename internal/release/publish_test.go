package release_test

import (
	"testing"

	"github.com/org/imagebuild-action/internal/githubtest"
)

func TestPublish(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	build := load(t, spec{name: "golden", version: "1.0.0", built: refs("golden", "libvirt", "vmware", "virtualbox"), catalog: true, pages: "gh-pages"})
	outcome := publish(t, request(t, server, build))
	if !outcome.Closed || outcome.Draft {
		t.Errorf("%+v", outcome)
	}
	if err := intact(server, "v1.0.0", build); err != nil {
		t.Error(err)
	}
	r := one(t, server)
	t.Logf("%s\n%s\n%s", r.Body, contentOf(t, r, "SHA256SUMS"), contentOf(t, r, "golden-vagrant.json"))
	before := len(server.Calls())
	again := publish(t, request(t, server, build))
	if len(again.Uploaded) > 0 || !again.Closed {
		t.Errorf("%+v", again)
	}
	t.Logf("%d calls, then %d", before, len(server.Calls())-before)
	for _, c := range server.Calls() {
		t.Log(c.Method, c.Path, c.Status)
	}
}
