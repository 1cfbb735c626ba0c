package release_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/release"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/verify"
	"github.com/org/imagebuild-action/internal/vm"
)

// TestReadsWhatBuildsWrite loads records that were made from the build's own
// types: a field that gets another name there must not get lost here.
func TestReadsWhatBuildsWrite(t *testing.T) {
	const box, manifest = "golden-1.0.0-vm-amd64.box", "golden-1.0.0-abc.manifest.json.zst"
	p := plan.Plan{
		Format: plan.Format, Name: "golden", Version: "1.0.0", Digest: sum("plan"),
		Cells:    []*plan.Cell{{Platform: "vm", Type: "vmware", Arch: "amd64", TreeID: "t2", Digest: sum("cell")}},
		Template: []plan.CellName{{Platform: "vm", Arch: "amd64"}, {Platform: "libvirt", Arch: "arm64"}},
		Release:  template.Release{Oversize: template.Refuse, Vagrant: template.VagrantRelease{Catalog: true, Pages: "site"}},
	}
	planText, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	resultText, err := json.Marshal(build.Result{
		Name: "golden", Version: "1.0.0", Generator: "imagebuild 1", PlanDigest: p.Digest,
		Trees:     []build.TreeResult{{ID: "t1", Platforms: []string{"vm"}, Manifest: "x"}, {ID: "t2", Platforms: []string{"vm"}, SHA256: sum("tree"), Manifest: manifest}},
		Artifacts: []image.Artifact{{Name: box, Kind: image.Box, Platform: "vm", Arch: "amd64", Path: box, SizeBytes: 3, SHA256: sum("box"), Variant: "vagrant", Provider: "vmware_desktop"}},
		Verified:  []verify.Result{{Artifact: box, Accel: vm.KVM, BootSeconds: 4.5, Tests: []verify.TestResult{{Name: "a"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plan.json": string(planText), "result.json": string(resultText), box: "box", manifest: "m",
		"SHA256SUMS": sum("box") + "  " + box + "\n" + sum("m") + "  " + manifest + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := release.Load(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	c := b.Cells[0]
	if b.Oversize != template.Refuse || c.Type != "vmware" || c.CellDigest != sum("cell") || c.PlanDigest != p.Digest || c.TreeSHA256 != sum("tree") ||
		len(c.Template) != 2 || len(c.Built) != 1 || c.Vagrant.Pages != "site" || c.Generator != "imagebuild 1" || c.Manifest.SHA256 != sum("m") {
		t.Errorf("%+v", c)
	}
	if a := c.Artifacts[0]; a.Provider != "vmware_desktop" || a.Proof == nil || *a.Proof != (release.Proof{Accel: "kvm", BootSeconds: 4.5, Tests: 1}) {
		t.Errorf("%+v", a)
	}
}
