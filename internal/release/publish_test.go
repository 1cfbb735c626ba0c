package release_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/release"
)

func TestPublishOneBuild(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	build := load(t, spec{name: "golden", version: "1.0.0", built: refs("golden", "libvirt", "vmware", "virtualbox"), catalog: true, pages: "gh-pages"})
	outcome := publish(t, request(t, server, build))
	if !outcome.Closed || outcome.Draft || len(outcome.Uploaded) != 14 || !slices.Equal(outcome.Catalogs, []string{"vagrant/golden.json"}) {
		t.Errorf("%+v", outcome)
	}
	if err := intact(server, "v1.0.0", build); err != nil {
		t.Error(err)
	}
	if r := one(t, server); r.Prerelease || !r.Latest || r.Name != "v1.0.0" {
		t.Errorf("%+v", r)
	}
	before := server.Releases()
	again := publish(t, request(t, server, build))
	if len(again.Uploaded) > 0 || !again.Closed || len(server.Log("gh-pages")) != 1 {
		t.Errorf("%+v", again)
	}
	if after := server.Releases(); !slices.EqualFunc(before[0].Assets, after[0].Assets, func(a, b githubtest.Asset) bool { return a.ID == b.ID }) || before[0].Body != after[0].Body {
		t.Error("a second time is not the same")
	}
	// Without a folder it finds the same.
	if closed := publish(t, release.Request{Client: client(t, server, nil), Tag: "v1.0.0"}); !closed.Closed {
		t.Errorf("%+v", closed)
	}
}

// TestGoldens shows everything that is generated, for two images in one
// release: boxes, files in parts, AMIs, a platform with a name of its own.
func TestGoldens(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	golden1 := load(t, spec{name: "golden", version: "1.0.0-rc.1", built: refs("golden", "libvirt", "libvirt/arm64", "vmware", "aws", "aws/arm64"), catalog: true, pages: "gh-pages", amis: true})
	web := load(t, spec{name: "web", version: "1.0.0-rc.1", built: refs("web", "libvirt-big"), content: strings.Repeat(" and more", 20), catalog: true, pages: "gh-pages"})
	server.Commit("gh-pages", map[string]string{
		"index.html":          "hello",
		"vagrant/golden.json": `{"name": "octo/old-name", "description": "Base", "versions": [{"version": "0.9.0", "status": "active", "providers": [{"name": "libvirt", "url": "https://x/old.box"}]}]}`,
	})
	r := request(t, server, golden1, web)
	r.AssetLimit = 180
	outcome := publish(t, r)
	if !outcome.Closed || len(outcome.AMIs) != 4 {
		t.Errorf("%+v", outcome)
	}
	done := one(t, server)
	if !done.Prerelease || done.Latest {
		t.Errorf("%+v", done)
	}
	fixed := func(text []byte) []byte {
		return []byte(strings.ReplaceAll(string(text), server.URL(), "https://github.example"))
	}
	golden(t, "body.md", fixed([]byte(done.Body)))
	// The digest of what holds the server's address differs from run to run.
	var sums []string
	for line := range strings.Lines(string(contentOf(t, done, "SHA256SUMS"))) {
		if digest, name, _ := strings.Cut(line, "  "); strings.HasSuffix(name, "-vagrant.json\n") {
			line = strings.Repeat("0", len(digest)) + "  " + name
		}
		sums = append(sums, line)
	}
	golden(t, "SHA256SUMS", []byte(strings.Join(sums, "")))
	for _, name := range []string{"golden-vagrant.json", "golden-1.0.0-rc.1-amis.json", "golden-1.0.0-rc.1-amis.md", "golden-1.0.0-rc.1-libvirt-arm64.json", "golden-1.0.0-rc.1-aws-amd64.json", "web-1.0.0-rc.1-libvirt-big-amd64.json"} {
		golden(t, name, fixed(contentOf(t, done, name)))
	}
	files := server.Files("gh-pages")
	if files["index.html"] != "hello" || files["vagrant/golden.json"] != string(contentOf(t, done, "golden-vagrant.json")) || files["vagrant/web.json"] != "" {
		t.Errorf("%v", files)
	}
	// The parts make the whole.
	var joined []byte
	for _, part := range []string{".part01", ".part02"} {
		joined = append(joined, contentOf(t, done, "web-1.0.0-rc.1-libvirt-big-amd64.box"+part)...)
	}
	if sum(string(joined)) != web.Cells[0].Artifacts[0].SHA256 {
		t.Error("the parts do not make the file")
	}
}

func TestWaitsForWhatIsMissing(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	all := refs("golden", "libvirt", "vmware")
	first := load(t, spec{name: "golden", version: "1.0.0", template: all, built: all[:1]})
	second := load(t, spec{name: "golden", version: "1.0.0", template: all, built: all[1:]})
	outcome := publish(t, request(t, server, first))
	if outcome.Closed || !outcome.Draft || !slices.Equal(outcome.Missing, []string{"cell golden vmware amd64"}) || !one(t, server).Draft {
		t.Errorf("%+v", outcome)
	}
	// Closing by hand says the same.
	if by := publish(t, release.Request{Client: client(t, server, nil), Tag: "v1.0.0"}); by.Closed || !slices.Equal(by.Missing, outcome.Missing) {
		t.Errorf("%+v", by)
	}
	keep := request(t, server, second)
	keep.KeepDraft = true
	if kept := publish(t, keep); !kept.Closed || !kept.Draft || len(server.Refs()) != 1 {
		t.Errorf("%+v, %v", kept, server.Refs())
	}
	if done := publish(t, request(t, server, second)); !done.Closed || done.Draft {
		t.Errorf("%+v", done)
	}
	if err := intact(server, "v1.0.0", first, second); err != nil {
		t.Error(err)
	}
}

func TestAPartOnPurpose(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	all := refs("golden", "libvirt", "vmware", "virtualbox")
	for i := range 2 {
		r := request(t, server, load(t, spec{name: "golden", version: "1.0.0", template: all, built: all[i : i+1]}))
		r.CompleteWhen, r.Job = release.WholeMatrix, &release.Job{Index: i, Total: 2}
		if outcome := publish(t, r); outcome.Closed != (i == 1) {
			t.Errorf("job %d: %+v", i, outcome)
		}
	}
}

// TestSeveralTemplates has the second template's job come when the first one's
// cells are all there.
func TestSeveralTemplates(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{Immutable: true})
	for i, name := range []string{"golden", "web"} {
		r := request(t, server, load(t, spec{name: name, version: "1.0.0", built: refs(name, "libvirt")}))
		r.Job = &release.Job{Index: i, Total: 2}
		if outcome := publish(t, r); outcome.Closed != (i == 1) {
			t.Errorf("%s: %+v", name, outcome)
		}
	}
}

func TestUsersOwn(t *testing.T) {
	build := load(t, spec{name: "golden", version: "1.0.0", built: refs("golden", "libvirt")})
	for name, tc := range map[string]struct {
		draft, byID bool
		publishes   bool
	}{
		"draft": {draft: true, publishes: true}, "published": {}, "by its number": {draft: true, byID: true, publishes: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := githubtest.New(t, githubtest.Options{})
			theirs := create(t, server, "v1.0.0", "The big one", "Notes by hand.\n", tc.draft)
			r := request(t, server, build)
			if tc.byID {
				r.Tag, r.ReleaseID = "", theirs
			}
			if outcome := publish(t, r); !outcome.Closed || outcome.Draft || outcome.ReleaseID != theirs {
				t.Errorf("%+v", outcome)
			}
			got := one(t, server)
			if got.Name != "The big one" || !strings.HasPrefix(got.Body, "Notes by hand.\n\n<!-- imagebuild") || got.Draft {
				t.Errorf("%q: %q", got.Name, got.Body)
			}
			if err := intact(server, "v1.0.0", build); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefusals are the mistakes that a person can mend, each in one message.
func TestRefusals(t *testing.T) {
	base := spec{name: "golden", version: "1.0.0", built: refs("golden", "libvirt")}
	all := refs("golden", "libvirt", "vmware")
	changed, half, replanned, unproved, refusing := base, base, base, base, base
	changed.content, half.template, replanned.plan, unproved.unproved, refusing.oversize = " other", all, "other", true, "refuse"
	for name, tc := range map[string]struct {
		before  *spec // published, or begun
		draft   bool
		options githubtest.Options
		request func(t *testing.T, server *githubtest.Server) release.Request
		want    []string
	}{
		"other bytes": {before: &base, request: with(changed), want: []string{"from the same plan but with another golden-1.0.0-libvirt-amd64.", sum("content of golden-1.0.0-libvirt-amd64.box"), sum("content of golden-1.0.0-libvirt-amd64.box other"), "new version"}},
		"other bytes in a draft": {before: &half, draft: true, request: func(t *testing.T, server *githubtest.Server) release.Request {
			other := half
			other.content = " other"
			return with(other)(t, server)
		}, want: []string{"from the same plan", "from the draft"}},
		"another plan": {before: &base, request: with(replanned), want: []string{"from plan " + sum("cell 1.0.0golden libvirt amd64"), "new version"}},
		"immutable":    {before: &base, options: githubtest.Options{Immutable: true}, request: with(spec{name: "golden", version: "1.0.0", built: refs("golden", "vmware")}), want: []string{"immutable", "new tag"}},
		"not booted":   {request: with(unproved), want: []string{"golden-1.0.0-libvirt-amd64.box was not booted"}},
		"too large": {request: func(t *testing.T, server *githubtest.Server) release.Request {
			r := with(refusing)(t, server)
			r.AssetLimit = 10
			return r
		}, want: []string{"release.oversize: split"}},
		"no tag": {request: func(t *testing.T, server *githubtest.Server) release.Request {
			r := with(base)(t, server)
			r.Tag = ""
			return r
		}, want: []string{"no tag"}},
		"nothing to close": {request: func(t *testing.T, server *githubtest.Server) release.Request {
			r := with(base)(t, server)
			r.Builds = nil
			return r
		}, want: []string{"no release for tag"}},
		"no such number": {request: func(t *testing.T, server *githubtest.Server) release.Request {
			r := with(base)(t, server)
			r.ReleaseID = 77
			return r
		}, want: []string{"no release with id 77"}},
		"another's number": {before: &base, request: func(t *testing.T, server *githubtest.Server) release.Request {
			r := with(base)(t, server)
			r.ReleaseID, r.Tag = one(t, server).ID, "v2"
			return r
		}, want: []string{`of tag "v1.0.0", not of "v2"`}},
		"twice": {request: func(t *testing.T, server *githubtest.Server) release.Request {
			r := with(base)(t, server)
			r.Builds = append(r.Builds, load(t, base))
			return r
		}, want: []string{"publish one of them"}},
		"a rule that is none": {request: func(t *testing.T, server *githubtest.Server) release.Request {
			r := with(base)(t, server)
			r.CompleteWhen = "never"
			return r
		}, want: []string{`"never" is not a rule`}},
	} {
		t.Run(name, func(t *testing.T) {
			server := githubtest.New(t, tc.options)
			if tc.before != nil {
				if outcome := publish(t, request(t, server, load(t, *tc.before))); outcome.Draft != tc.draft {
					t.Fatalf("%+v", outcome)
				}
			}
			r := tc.request(t, server)
			before := len(server.Calls())
			_, err := release.Publish(t.Context(), r, quiet(t))
			if err == nil || fault.KindOf(err) != fault.Input {
				t.Fatalf("%v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			for _, c := range server.Calls()[before:] {
				if c.Method != "GET" {
					t.Errorf("%s %s before it refused", c.Method, c.Path)
				}
			}
		})
	}
}

func with(s spec) func(*testing.T, *githubtest.Server) release.Request {
	return func(t *testing.T, server *githubtest.Server) release.Request { return request(t, server, load(t, s)) }
}

// TestReplacesWhatNeverFinished has a killed try leave an artifact with other
// bytes, and half an upload.
func TestReplacesWhatNeverFinished(t *testing.T) {
	s := spec{name: "golden", version: "1.0.0", built: refs("golden", "libvirt")}
	server := githubtest.New(t, githubtest.Options{})
	old := s
	old.content = " of an earlier try"
	ctx, cancel := context.WithCancel(t.Context())
	m := &mortal{next: transport(), kill: cancel}
	m.left.Store(8)
	r := request(t, server, load(t, old))
	r.Client, r.Uploads = client(t, server, m), 1
	if _, err := release.Publish(ctx, r, quiet(t)); err == nil {
		t.Fatal("it was not killed")
	}
	if n := len(one(t, server).Assets); n != 1 {
		t.Fatalf("%d assets: the kill comes at the wrong time for this test", n)
	}
	server.Fail(githubtest.Fault{Effect: githubtest.BrokenUpload, Path: "/assets$", Nth: 2})
	build, said := load(t, s), &log{}
	outcome, err := release.Publish(t.Context(), request(t, server, build), said)
	if err != nil || !outcome.Closed || !said.has("an earlier try of this cell did not come to its end") {
		t.Errorf("%+v, %v, %q", outcome, err, said.lines)
	}
	if err := intact(server, "v1.0.0", build); err != nil {
		t.Error(err)
	}
}

func TestHas(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	all := refs("golden", "libvirt", "vmware")
	build := load(t, spec{name: "golden", version: "1.0.0", template: all, built: all[:1]})
	cell := build.Cells[0]
	has := func(ref release.Ref, version, digest string) bool {
		t.Helper()
		is, err := release.Has(t.Context(), release.Request{Client: client(t, server, nil), Tag: "v1.0.0"}, ref, version, digest)
		if err != nil {
			t.Error(err)
		}
		return is
	}
	if has(cell.Ref, cell.Version, cell.CellDigest) {
		t.Error("there is no release")
	}
	publish(t, request(t, server, build))
	for name, tc := range map[string]struct {
		ref             release.Ref
		version, digest string
		want            bool
	}{
		"it":              {cell.Ref, cell.Version, cell.CellDigest, true},
		"another plan":    {cell.Ref, cell.Version, sum("x"), false},
		"another cell":    {all[1], cell.Version, cell.CellDigest, false},
		"another version": {cell.Ref, "2", cell.CellDigest, false},
	} {
		if got := has(tc.ref, tc.version, tc.digest); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, a := range one(t, server).Assets {
		if strings.HasSuffix(a.Name, ".box") {
			if err := client(t, server, nil).DeleteAsset(t.Context(), a.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if has(cell.Ref, cell.Version, cell.CellDigest) {
		t.Error("its box is gone")
	}
}

// TestVersionsAddUp publishes three versions where nothing serves a catalog:
// each release's has all that came before.
func TestVersionsAddUp(t *testing.T) {
	server := githubtest.New(t, githubtest.Options{})
	for _, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		r := request(t, server, load(t, spec{name: "golden", version: version, built: refs("golden", "libvirt"), catalog: true}))
		r.Tag = "v" + version
		publish(t, r)
	}
	all := server.Releases()
	var c release.Catalog
	if err := json.Unmarshal(contentOf(t, all[2], "golden-vagrant.json"), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Versions) != 3 || c.Name != "octo/golden" || c.Versions[0].Version != "1.2.0" || c.Versions[2].Providers[0].URL != server.URL()+"/octo/images/releases/download/v1.0.0/golden-1.0.0-libvirt-amd64.box" {
		t.Errorf("%+v", c)
	}
}
