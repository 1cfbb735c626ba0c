package release_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/githubtest"
	"github.com/org/imagebuild-action/internal/release"
	"github.com/org/imagebuild-action/internal/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

type object = map[string]any

// spec is a build to pretend.
type spec struct {
	name, version string
	template      []release.Ref // every cell; those of built unless set
	built         []release.Ref
	pages         string
	oversize      string
	catalog       bool
	content       string // varies the bytes
	amis          bool
	plan          string // varies the digests
	unproved      bool
	box           string // content of the boxes; made up unless set
}

func sum(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

// providers are Vagrant's names of the platforms.
var providers = map[string]string{"vmware": "vmware_desktop"}

// output writes an output folder as imagebuild build leaves it.
func output(t testing.TB, s spec) string {
	t.Helper()
	dir := t.TempDir()
	sums := map[string]string{}
	put := func(name, text string) (int, string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		sums[name] = sum(text)
		return len(text), sums[name]
	}
	if s.template == nil {
		s.template = s.built
	}
	var cells, template, trees, artifacts, verified []object
	planDigest := sum("plan " + s.name + s.version + s.plan + fmt.Sprint(s.built))
	manifest := s.name + "-" + s.version + ".manifest.json.zst"
	put(manifest, "manifest of "+s.name+sum(s.content)[:8])
	var platforms []string
	for _, ref := range s.built {
		platforms = append(platforms, ref.Platform)
		cells = append(cells, object{
			"platform": ref.Platform, "type": strings.TrimSuffix(ref.Platform, "-big"), "arch": ref.Arch, "tree": "t1", "digest": sum("cell " + s.plan + s.version + ref.String()),
		})
		kind := strings.TrimSuffix(ref.Platform, "-big")
		provider := kind
		if p := providers[kind]; p != "" {
			provider = p
		}
		prefix := s.name + "-" + s.version + "-" + ref.Platform + "-" + ref.Arch
		if s.amis && ref.Platform == "aws" {
			put("ami-"+ref.Platform+"-"+ref.Arch+".json", "record of "+prefix)
			for _, region := range []string{"us-east-1", "eu-west-1"} {
				artifacts = append(artifacts, object{
					"name": prefix, "kind": "ami", "platform": ref.Platform, "arch": ref.Arch, "reference": "ami-" + sum(region + prefix)[:17], "region": region, "size_bytes": 0,
				})
			}
			continue
		}
		for _, ext := range []string{"box", "img"} {
			name := prefix + "." + ext
			content := "content of " + name + s.content
			if ext == "box" && s.box != "" {
				content = s.box
			}
			size, digest := put(name, content)
			a := object{"name": name, "kind": ext, "platform": ref.Platform, "arch": ref.Arch, "path": name, "size_bytes": size, "sha256": digest}
			if ext == "box" {
				a["variant"], a["provider"] = "vagrant", provider
			}
			artifacts = append(artifacts, a)
			if !s.unproved {
				verified = append(verified, object{"artifact": name, "accel": "tcg", "boot_seconds": 61.5, "tests": []object{{"name": "a"}, {"name": "b"}}})
			}
		}
	}
	for _, ref := range s.template {
		template = append(template, object{"platform": ref.Platform, "arch": ref.Arch})
	}
	trees = append(trees, object{"id": "t1", "platforms": platforms, "sha256": sum("tree" + s.content), "manifest": manifest})
	for name, value := range map[string]any{
		"plan.json": object{
			"format": 1, "name": s.name, "version": s.version, "digest": planDigest, "cells": cells, "template": template,
			"release": object{"oversize": s.oversize, "vagrant": object{"catalog": s.catalog, "pages": s.pages}},
		},
		"result.json": object{
			"name": s.name, "version": s.version, "generator": "imagebuild test", "plan_digest": planDigest,
			"trees": trees, "artifacts": artifacts, "verified": verified,
		},
	} {
		text, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		put(name, string(text))
	}
	delete(sums, "result.json")
	var lines strings.Builder
	for name, digest := range sums {
		fmt.Fprintf(&lines, "%s  %s\n", digest, name)
	}
	put("SHA256SUMS", lines.String())
	return dir
}

func load(t testing.TB, s spec) *release.Build {
	t.Helper()
	build, err := release.Load(t.Context(), output(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return build
}

// refs names the cells of an image.
func refs(name string, cells ...string) []release.Ref {
	var list []release.Ref
	for _, each := range cells {
		platform, arch, _ := strings.Cut(each, "/")
		if arch == "" {
			arch = "amd64"
		}
		list = append(list, release.Ref{Name: name, Platform: platform, Arch: arch})
	}
	return list
}

// noWait is a clock that has no time to lose.
func noWait(ctx context.Context, _ time.Duration) error {
	runtime.Gosched()
	return context.Cause(ctx)
}

func client(t testing.TB, server *githubtest.Server, transport http.RoundTripper) *github.Client {
	t.Helper()
	if transport == nil {
		transport = shared
	}
	c, err := github.New(github.Options{
		Token: server.Token(githubtest.Write), APIURL: server.APIURL(), ServerURL: server.URL(), Repository: server.Repository(),
		Sleep: noWait, Transport: transport, UserAgent: fmt.Sprint("imagebuild ", clients.Add(1)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// clients lets the server tell one from another.
var clients atomic.Int64

// request is a publication with the least that is needed.
func request(t testing.TB, server *githubtest.Server, builds ...*release.Build) release.Request {
	return release.Request{Client: client(t, server, nil), Tag: "v1.0.0", Builds: builds}
}

// publish must succeed.
func publish(t testing.TB, r release.Request) release.Outcome {
	t.Helper()
	outcome, err := release.Publish(t.Context(), r, quiet(t))
	if err != nil {
		t.Fatalf("%v\n%+v", err, outcome)
	}
	return outcome
}

// log is a reporter that keeps what was said.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *log) Begin(string) report.Task        { return l }
func (l *log) Progress(int64, int64)           {}
func (l *log) Line(string)                     {}
func (l *log) Note(format string, args ...any) { l.add("note: "+format, args...) }
func (l *log) Warn(format string, args ...any) { l.add("warning: "+format, args...) }
func (l *log) End(error)                       {}
func (l *log) has(part string) bool            { return strings.Contains(strings.Join(l.lines, "\n"), part) }
func quiet(testing.TB) report.Task             { return report.Discard.Begin("") }

// one demands that the server has one release, and returns it.
func one(t testing.TB, server *githubtest.Server) githubtest.Release {
	t.Helper()
	all := server.Releases()
	if len(all) != 1 {
		t.Fatalf("%d releases: %+v", len(all), all)
	}
	return all[0]
}

// intact checks a finished release: every asset of the builds once and whole,
// and checksums that fit.
func intact(server *githubtest.Server, tag string, builds ...*release.Build) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	var found *githubtest.Release
	for _, r := range server.Releases() {
		if r.Tag != tag {
			continue
		}
		if found != nil || r.Draft {
			fail("release %d (%q, draft %v, %d assets) is one too many, or no release", r.ID, r.Name, r.Draft, len(r.Assets))
		}
		if found == nil {
			found = &r
		}
	}
	if found == nil {
		return errors.New("there is no release")
	}
	assets, sums := map[string]string{}, ""
	for _, a := range found.Assets {
		if assets[a.Name] != "" {
			fail("%s is there twice", a.Name)
		}
		if assets[a.Name] = a.SHA256; a.State != githubtest.Uploaded {
			fail("%s is %s", a.Name, a.State)
		}
		if a.Name == "SHA256SUMS" {
			text, err := a.Content()
			if err != nil {
				fail("%v", err)
			}
			sums = string(text)
		}
	}
	for _, b := range builds {
		for _, c := range b.Cells {
			if assets[c.AssetName()] == "" {
				fail("%s is missing", c.AssetName())
			}
			for _, f := range c.Files() {
				if assets[f.Name] != f.SHA256 {
					fail("%s has sha256 %q, want %q", f.Name, assets[f.Name], f.SHA256)
				}
			}
		}
	}
	for name, digest := range assets {
		if name != "SHA256SUMS" && !strings.Contains(sums, digest+"  "+name+"\n") {
			fail("SHA256SUMS does not list %s", name)
		}
	}
	return errors.Join(errs...)
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, got, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with go test -update", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (-want +got):\n%s", name, cmp.Diff(string(want), string(got)))
	}
}

// contentOf returns an asset's bytes.
func contentOf(t *testing.T, r githubtest.Release, name string) []byte {
	t.Helper()
	i := slices.IndexFunc(r.Assets, func(a githubtest.Asset) bool { return a.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	text, err := r.Assets[i].Content()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// transport keeps the connections of a dozen clients at once.
func transport() http.RoundTripper { return shared }

var shared = &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: time.Second}

// create makes a release as a person does.
func create(t testing.TB, server *githubtest.Server, tag, name, body string, draft bool) int64 {
	t.Helper()
	c, err := github.New(github.Options{Token: server.Token(githubtest.Person), APIURL: server.APIURL(), ServerURL: server.URL(), Repository: server.Repository()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.CreateRelease(t.Context(), github.NewRelease{Tag: tag, Name: name, Body: body, Draft: draft})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}
