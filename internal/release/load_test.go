package release_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/release"
)

func TestLoad(t *testing.T) {
	build := load(t, spec{name: "golden", version: "1.0.0", template: refs("golden", "libvirt", "vmware"), built: refs("golden", "vmware"), catalog: true, pages: "gh-pages"})
	if len(build.Cells) != 1 {
		t.Fatalf("%+v", build)
	}
	c := build.Cells[0]
	if c.Type != "vmware" || len(c.Template) != 2 || len(c.Built) != 1 || c.TreeSHA256 == "" || c.Vagrant.Pages != "gh-pages" || !c.Vagrant.Catalog ||
		c.Manifest.Name != "golden-1.0.0-vmware-amd64.manifest.json.zst" || c.Manifest.SHA256 == "" || c.Manifest.SizeBytes == 0 {
		t.Errorf("%+v", c)
	}
	if len(c.Artifacts) != 2 || c.Artifacts[0].Provider != "vmware_desktop" || c.Artifacts[0].Proof.Tests != 2 {
		t.Errorf("%+v", c.Artifacts)
	}
	text, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if again, is, err := release.ParseCell(c.AssetName(), text); !is || err != nil || again.CellDigest != c.CellDigest {
		t.Errorf("%+v, %v, %v", again, is, err)
	}
	if _, is, err := release.ParseCell("golden-1.0.0-vmware-arm64.json", text); !is || err == nil {
		t.Error("taken under another name")
	}
}

// TestLoadRefuses damages an output folder in one way after the other.
func TestLoadRefuses(t *testing.T) {
	const box = "golden-1.0.0-libvirt-amd64.box"
	replace := func(name, old, with string) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, name)
			text, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(text, []byte(old)) {
				return errors.Join(err, errors.New(name+" does not hold "+old))
			}
			return os.WriteFile(path, bytes.ReplaceAll(text, []byte(old), []byte(with)), 0o644)
		}
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	for name, tc := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"no plan":                 {remove("plan.json"), "there is no plan.json; name a folder that imagebuild build wrote"},
		"no result":               {remove("result.json"), "there is no result.json"},
		"no checksums":            {remove("SHA256SUMS"), "there is no SHA256SUMS"},
		"no artifact":             {remove(box), box + " is missing; build again"},
		"no manifest":             {remove("golden-1.0.0.manifest.json.zst"), "golden-1.0.0.manifest.json.zst is missing"},
		"cut short":               {func(dir string) error { return os.Truncate(filepath.Join(dir, box), 3) }, box + " has 3 bytes, and the build wrote"},
		"one bit":                 {replace(box, "content", "contend"), box + " has sha256"},
		"a manifest of another":   {replace("golden-1.0.0.manifest.json.zst", "manifest", "manifesT"), "manifest.json.zst has sha256"},
		"a folder":                {func(dir string) error { return errors.Join(remove(box)(dir), os.Mkdir(filepath.Join(dir, box), 0o755)) }, box + " is not a file"},
		"another build's plan":    {replace("plan.json", `"version": "1.0.0"`, `"version": "2.0.0"`), "are of two builds"},
		"a newer plan":            {replace("plan.json", `"format": 1`, `"format": 2`), "has format 2"},
		"not JSON":                {replace("plan.json", "{", "<"), "plan.json: invalid character"},
		"outside the folder":      {replace("result.json", `"path": "`+box, `"path": "../`+box), "is not in the folder itself"},
		"an absolute path":        {replace("result.json", `"path": "`+box, `"path": "/etc/`+box), "is not in the folder itself"},
		"checksums that disagree": {replace("SHA256SUMS", sum("content of "+box), sum("x")), "do not agree on " + box},
		"no checksums in it":      {replace("SHA256SUMS", "  ", " "), "is not a line of sha256sum"},
		"a hostile platform":      {replace("plan.json", `"platform": "libvirt"`, `"platform": "libvirt) [x](http://e"`), "is not the name of a cell"},
		"a hostile branch":        {replace("plan.json", `"pages": "gh-pages"`, `"pages": "../x"`), "is not a branch"},
		"no template":             {replace("plan.json", `"template"`, `"templates"`), "does not say what the template has"},
		"stopped early":           {replace("result.json", `"artifacts"`, `"artefacts"`), "stopped before it made anything"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := output(t, spec{name: "golden", version: "1.0.0", built: refs("golden", "libvirt"), pages: "gh-pages"})
			if err := tc.damage(dir); err != nil {
				t.Fatal(err)
			}
			_, err := release.Load(t.Context(), dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) || fault.KindOf(err) != fault.Input {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := release.Load(t.Context(), filepath.Join(t.TempDir(), "nowhere")); err == nil || fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

// FuzzParseCell holds what others may have put onto a release to the rules of
// names, whatever it is.
func FuzzParseCell(f *testing.F) {
	for _, s := range []spec{
		{name: "golden", version: "1.0.0", built: refs("golden", "libvirt"), catalog: true, pages: "gh-pages"},
		{name: "golden", version: "1.0.0-rc.1", built: refs("golden", "aws"), amis: true},
	} {
		build := load(f, s)
		text, err := build.Cells[0].JSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(build.Cells[0].AssetName(), text)
	}
	f.Add("x.json", []byte(`{"format": "imagebuild-cell/1"}`))
	f.Add("x.json", []byte(`{"format": "imagebuild-cell/1", "artifacts": [{"parts": [{"name": "a.part01"}]}], "job": {"index": -1}}`))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		cell, is, err := release.ParseCell(name, text)
		switch {
		case err != nil:
			if !is || fault.KindOf(err) != fault.Input {
				t.Fatalf("%v, %v", is, err)
			}
		case is:
			if cell.AssetName() != name || strings.ContainsAny(name, "/\\|<>()[] \n") {
				t.Fatalf("taken: %q", name)
			}
			for _, file := range cell.Files() {
				if strings.ContainsAny(file.Name, "/\\|<>()[]` \n") {
					t.Fatalf("taken: %q", file.Name)
				}
			}
			if _, err := cell.JSON(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzParseCatalog adds to whatever passes for a catalog.
func FuzzParseCatalog(f *testing.F) {
	f.Add([]byte(`{"name": "a/b", "versions": [{"version": "1.0.0", "providers": [{"name": "libvirt", "url": "https://x", "architecture": "amd64"}]}]}`))
	f.Add([]byte(`{"name": "a/b", "versions": [{"version": "1.0.0-rc.1"}, {"version": "99999999999999999999999.a"}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := release.ParseCatalog(text)
		if err != nil {
			if fault.KindOf(err) != fault.Input {
				t.Fatal(err)
			}
			return
		}
		out, err := c.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := release.ParseCatalog(out); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
}
