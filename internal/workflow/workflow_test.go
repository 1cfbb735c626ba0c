package workflow

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUses(t *testing.T) {
	for uses, want := range map[string]bool{
		"org/imagebuild-action@v1": true, "Someone/ImageBuild-Action@main": true, "org/imagebuild-action/sub@v1": true, "./": true,
		"./.github/actions/imagebuild-action": true, "docker://ghcr.io/org/imagebuild-action:1.2": true, "docker://x/imagebuild-action@sha256:ab": true,
		"org/imagebuild-action": false, "actions/checkout@v5": false, "org/my-imagebuild-action@v1": false, "./other": false,
		"org/imagebuild-action-extra@v1": false, "docker://debian:12": false, "a/b/imagebuild-action@v1": false,
	} {
		if got := ours.MatchString(uses); got != want {
			t.Errorf("%s: %v", uses, got)
		}
	}
}

func TestFolder(t *testing.T) {
	for path, want := range map[string]string{
		".github/workflows/a.yml": ".", "x/.github/workflows/a.yml": "x", "/r/.github/workflows/a.yml": "/r",
		"../.github/workflows/a.yml": "..", "/.github/workflows/a.yml": "/", "a.yml": ".", "x/a.yml": ".", "./.github/workflows/a.yml": ".",
	} {
		if got := (&File{path: path}).Folder(); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

const example = `name: images
env: {KIND: vmware, BASE: "${{ 'deb' }}"}
jobs:
  lint:
    steps: [{run: make lint}]
  image:
    env: {RELEASE: "${{ env.BASE }}ian", LOOP: "${{ env.LOOP }}"}
    strategy:
      matrix:
        platform: [virtualbox, libvirt]
        image: [{name: web, size: 2}]
        include: [{platform: libvirt, debug: true}]
    steps:
      - uses: actions/checkout@v5
      - &build
        uses: org/imagebuild-action@v1
        env: {OWN: "<${{ env.RELEASE }}>", TOKEN: "${{ secrets.T }}"}
        with:
          template: images/${{ matrix.image.name }}.yml
          platform: ${{ matrix.platform }}
          Arch: amd64
          version: ${{ github.ref_name }}
          debug: ${{ matrix.debug || 'no' }}
          own: ${{ env.OWN }}${{ env.KIND }}${{ env.NONE }}
          loop: ${{ env.LOOP }}
          json: ${{ toJSON(matrix.image) }}
          index: ${{ matrix['image']['size'] >= 2 }}
          calls: ${{ format('{{{0}}} {1}', join(fromJSON('[1,2]'), '-'), contains('Hello', 'ELL')) }}
          list: ${{ fromJSON('[10,20]')[1] }}
          secret: ${{ secrets.TOKEN }}
          and: ${{ !matrix.debug && startsWith(matrix.platform, 'VIRTUAL') }}
          nothing: ${{ null }}
          folded: >-
            a
            ${{ github.sha }}
  again:
    steps: [*build]
`

func TestInputs(t *testing.T) {
	file, err := Parse("w.yml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, job := range file.Jobs() {
		names = append(names, job.ID)
	}
	if diff := cmp.Diff([]string{"image", "again"}, names); diff != "" {
		t.Fatal(diff)
	}
	cells, err := file.Jobs()[0].Cells(t.Context(), nil)
	if err != nil || len(cells) != 2 {
		t.Fatal(cells, err)
	}
	if got := cells[1].String(); got != `image (libvirt, {"name":"web","size":2}, true)` {
		t.Error(got)
	}
	for name, want := range map[string][2]string{
		"template": {"images/web.yml", "images/web.yml"},
		"platform": {"virtualbox", "libvirt"},
		"arch":     {"amd64", "amd64"},
		"version":  {"w.yml:22:24: github.ref_name is known to GitHub only", "w.yml:22:24: github.ref_name"},
		"debug":    {"no", "true"},
		"own":      {"<debian>vmware", "<debian>vmware"},
		"loop":     {"", ""},
		"json":     {"{\n  \"name\": \"web\",\n  \"size\": 2\n}", ""},
		"index":    {"true", "true"},
		"calls":    {"{1-2} true", ""},
		"list":     {"20", ""},
		"secret":   {"w.yml:30:23: secrets.TOKEN is known to GitHub only", ""},
		"and":      {"true", "false"},
		"nothing":  {"", ""},
		"folded":   {"w.yml:35:17: github.sha is known to GitHub only", ""},
	} {
		for i, cell := range cells {
			got, given, err := cell.Input(name)
			if err != nil {
				got = err.Error()
			}
			fits := got == want[i]
			switch {
			case i == 1 && want[1] == "":
				fits = true // as for the first cell
			case err != nil:
				fits = want[i] != "" && strings.Contains(got, want[i])
			}
			if !fits || given != (err == nil) {
				t.Errorf("%s of %s: got %q, %v, want %q", name, cell, got, given, want)
			}
		}
	}
	if _, given, err := cells[0].Input("absent"); given || err != nil {
		t.Error(given, err)
	}
	for name, want := range map[string]string{"KIND": "vmware", "own": "<debian>", "RELEASE": "debian", "NONE": "", "TOKEN": ""} {
		if got, set := cells[0].Env(name); got != want || set != (want != "") {
			t.Errorf("env %s: %q, %v", name, got, set)
		}
	}
	if at := cells[0].At("platform").String(); at != "w.yml:20:21" {
		t.Error(at)
	}
}

func TestParseFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "w.yml:1:1: the workflow is empty",
		"a: b":                     "w.yml:1:1: this is not a workflow: it has no jobs",
		"jobs: [a]":                "this is not a workflow",
		"jobs:\n\ta: b":            "w.yml:2:1: a tab cannot indent",
		"jobs: {a: {}}\n---\nx":    "a workflow is one YAML document",
		"jobs: \xff":               "w.yml:1:7: the workflow is not UTF-8",
		strings.Repeat("#", 1<<21): "w.yml: the workflow is larger than 1 MiB",
	} {
		if _, err := Parse("w.yml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %v, want %q", text, err, want)
		}
	}
	file, err := Parse("w.yml", []byte("jobs:\n  a: {steps: [{run: x}]}\n  b: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"":  "w.yml:2:3: no job uses the action; give a step uses: OWNER/imagebuild-action@REF (jobs are a, b)",
		"a": "w.yml:2:6: the job a has no step that uses the action", "c": `there is no job "c"; there are a, b`,
	} {
		if _, err := file.Choose(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if _, err := Load("missing.yml"); err == nil || !strings.Contains(err.Error(), "no such file or directory; name a workflow") {
		t.Error(err)
	}
}
