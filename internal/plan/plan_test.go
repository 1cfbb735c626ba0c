package plan

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/template"
)

var update = flag.Bool("update", false, "write the golden files anew")

const source = `# A comment
name: golden
version: 1.2.3
description: For everybody
variables:
  release: {default: bookworm}
  token: {env: TOKEN, sensitive: true}
source: {bootstrap: {release: "${{ var.release }}", packages: [sudo], mirror: near, keys: [files/archive.asc]}}
disk: {size: 4GiB}
provision:
  - name: Clean up
    shell: provision/clean.sh
    timeout: 5m
    retries: 1
  - shell: curl -H "Bearer ${{ var.token }}" https://example.org
    env: {TOKEN: "${{ env.TOKEN }}", LEVEL: 3}
  - file: {source: files/tree, destination: /etc/tree, mode: "0640"}
    except: [vmware]
  - name: Only here
    shell: echo one two
    only: [libvirt]
  - shell: echo on ${{ platform.type }}
test:
  - shell: systemctl is-system-running --wait
platforms:
  virtualbox:
  vmware: {cpus: 4}
  libvirt: {arch: [amd64, arm64]}
  libvirt-big: {type: libvirt, memory: 8GiB}
release: {vagrant: {catalog: true}}
`

var files = map[string]string{
	"provision/clean.sh": "#!/bin/sh\ntrue\n", "files/archive.asc": "key\n",
	"files/tree/a": "a\n", "files/tree/b/c": "c\n",
}

func options() Options {
	return Options{
		Env:   func(name string) (string, bool) { return "hunter22", name == "TOKEN" },
		Epoch: time.Unix(1700000000, 0), Tools: map[string]string{"mmdebstrap": "1.3.5", "e2fsprogs": "1.47.2"},
		GuestPackages: []string{"qemu-guest-agent", "open-vm-tools"}, Redact: &redact.Set{},
	}
}

// checkout writes a template and its files into a new folder.
func checkout(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content, 0o644)
	}
	if err := os.Chmod(filepath.Join(dir, "provision/clean.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../nowhere", filepath.Join(dir, "files/tree/link")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "imagebuild.yml"), text, 0o644)
	return dir
}

func write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), mode), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
}

func planOf(t *testing.T, dir string, o Options) (*Plan, error) {
	t.Helper()
	file, err := template.Load(filepath.Join(dir, "imagebuild.yml"), testRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return New(t.Context(), file, o)
}

func mustPlan(t *testing.T, dir string, o Options) *Plan {
	t.Helper()
	p, err := planOf(t, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		write(t, name, string(got), 0o644)
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; make it with go test -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); renew it with go test -update:\n%s", name, diff)
	}
}

func TestPrinted(t *testing.T) {
	dir := checkout(t, source)
	p := mustPlan(t, dir, options())
	encoded, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.json.golden", encoded)
	var table bytes.Buffer
	if err := p.Table(&table); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.table.golden", table.Bytes())
	for _, text := range []string{string(encoded), table.String()} {
		for _, hidden := range []string{dir, "hunter22"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%q is in the output", hidden)
			}
		}
	}
	// What runs has the real value.
	if step := p.Trees[0].Steps[1]; step.Env["TOKEN"] != "hunter22" || !strings.Contains(step.Config.(*testShell).Inline, "hunter22") {
		t.Errorf("the step lost its secret: %+v", step)
	}
}

// TestSecretByAnotherWay has a sensitive value arrive as plain text too.
func TestSecretByAnotherWay(t *testing.T) {
	p := mustPlan(t, checkout(t, strings.ReplaceAll(source, "one two", "one hunter22")), options())
	if text, err := p.JSON(); err != nil || bytes.Contains(text, []byte("hunter22")) {
		t.Errorf("the secret is in the plan: %v", err)
	}
}

func TestSharing(t *testing.T) {
	text := strings.ReplaceAll(source, "platform.type", "image.name")
	p := mustPlan(t, checkout(t, text), options())
	tree := func(platform, arch string) string { return p.Cell(platform, arch).TreeID }
	if tree("virtualbox", "amd64") != tree("libvirt-big", "amd64") {
		t.Error("cells with the same steps have two trees")
	}
	for _, other := range []string{tree("vmware", "amd64"), tree("libvirt", "amd64"), tree("libvirt", "arm64")} {
		if other == tree("virtualbox", "amd64") {
			t.Error("cells with different steps share a tree")
		}
	}
	if len(p.Trees) != 4 || len(p.Cells) != 5 {
		t.Errorf("%d trees, %d cells", len(p.Trees), len(p.Cells))
	}
	a, b := p.Cell("virtualbox", "amd64"), p.Cell("libvirt-big", "amd64")
	if a.Tree != b.Tree || a.Identity() != b.Identity() || a.Identity() != a.Tree.Identity() || a.Digest == b.Digest {
		t.Error("the tree, and so every identifier, is to be shared, the cell's digest is not")
	}
	// Steps before the first difference share their checkpoints.
	steps, others := a.Tree.Steps, p.Cell("vmware", "amd64").Tree.Steps
	if steps[1].Digest != others[1].Digest || steps[2].Digest == others[2].Digest || steps[3].Digest == others[2].Digest {
		t.Error("checkpoints are not chained")
	}
	// One cell alone is the cell that it is among all.
	o := options()
	o.Platforms, o.Archs = []string{"libvirt"}, []string{"arm64"}
	alone := mustPlan(t, checkout(t, text), o)
	if len(alone.Cells) != 1 || len(alone.Trees) != 1 || alone.Cells[0].Digest != p.Cell("libvirt", "arm64").Digest {
		t.Errorf("got %+v", alone.Cells)
	}
	if diff := cmp.Diff(p.Differences, alone.Differences); diff != "" {
		t.Errorf("the declared differences depend on the choice:\n%s", diff)
	}
}

func TestChoices(t *testing.T) {
	dir := checkout(t, source)
	for want, change := range map[string]func(*Options){
		`platform "aws" is not in the template; it has virtualbox, vmware, libvirt, libvirt-big`: func(o *Options) { o.Platforms = []string{"libvirt", "aws"} },
		`architecture "s390x" is not in the template; it has amd64, arm64`:                       func(o *Options) { o.Archs = []string{"s390x"} },
		`no platform chosen (vmware) has an architecture chosen (arm64)`:                         func(o *Options) { o.Platforms, o.Archs = []string{"vmware"}, []string{"arm64"} },
		`--var x: the template has no such variable`:                                             func(o *Options) { o.Vars = map[string]string{"x": "y"} },
		`variables.token: the variable has no value`:                                             func(o *Options) { o.Env = nil },
	} {
		o := options()
		change(&o)
		if _, err := planOf(t, dir, o); err == nil || fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestFaultOfOnePlatform has a fault that shows on one platform only.
func TestFaultOfOnePlatform(t *testing.T) {
	text := strings.ReplaceAll(source, "shell: echo one two", "shell: scripts/${{ platform.name }}.sh")
	dir := checkout(t, text)
	write(t, filepath.Join(dir, "scripts/virtualbox.sh"), "", 0o644)
	_, err := planOf(t, dir, options())
	var list fault.List
	if !errors.As(err, &list) || len(list) != 3 { // vmware, libvirt once, libvirt-big
		t.Errorf("got %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	dir := checkout(t, source)
	file, err := template.Load(filepath.Join(dir, "imagebuild.yml"), testRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(cancelled, file, options()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	mkfifo(t, filepath.Join(dir, "files/tree/pipe"))
	if _, err := planOf(t, dir, options()); err == nil || fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "files/tree/pipe is neither") {
		t.Errorf("got %v", err)
	}
}
