package plan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// replaced returns the template with one text exchanged, which must be there.
func replaced(t *testing.T, old, fresh string) string {
	t.Helper()
	if !strings.Contains(source, old) {
		t.Fatalf("%q is not in the template", old)
	}
	return strings.ReplaceAll(source, old, fresh)
}

func TestDigestIgnores(t *testing.T) {
	want := mustPlan(t, checkout(t, source), options()).Digest
	for _, tt := range []struct{ name, old, fresh string }{
		{"the checkout's path", "", ""},
		{"comments", "# A comment", "# Another one\n# and one more"},
		{"the description", "For everybody", "For some"},
		{"a step's name", "Clean up", "Sweep"},
		{"a timeout", "timeout: 5m", "timeout: 6m"},
		{"retries", "retries: 1", "retries: 2"},
		{"tests", "--wait", "--wait --quiet"},
		{"the release section", "catalog: true", "catalog: false"},
		{"an inert field", "mirror: near", "mirror: far"},
		{"the order of keys", "{cpus: 4}", "{ova: true, cpus: 4}"},
		{"the order of a step's keys", "    timeout: 5m\n    retries: 1\n", "    retries: 1\n    timeout: 5m\n"},
		{"the order of sections", "name: golden\nversion: 1.2.3\n", "version: 1.2.3\nname: golden\n"},
		{"the order of platforms", "  virtualbox:\n  vmware: {cpus: 4}\n", "  vmware: {cpus: 4}\n  virtualbox:\n"},
		{"quotes", "name: golden", `name: "golden"`},
		{"a default that is spelled out", "disk: {size: 4GiB}", "disk: {size: 4096M, filesystem: ext4}"},
		{"how a value was computed", "packages: [sudo]", "packages: [\"${{ 'sudo' }}\"]"},
	} {
		if got := mustPlan(t, checkout(t, replaced(t, tt.old, tt.fresh)), options()).Digest; got != want {
			t.Errorf("%s: the digest changed", tt.name)
		}
	}
	o := options()
	o.Env = func(name string) (string, bool) { return "another secret", name == "TOKEN" }
	o.GuestPackages = []string{"open-vm-tools", "qemu-guest-agent"}
	o.Epoch = o.Epoch.In(time.FixedZone("away", 3600))
	if got := mustPlan(t, checkout(t, source), o).Digest; got != want {
		t.Error("a secret's value, the order of packages or the time zone changed the digest")
	}
	dir := checkout(t, source)
	for name, mode := range map[string]os.FileMode{"files/tree/a": 0o660, "provision/clean.sh": 0o700, "files/tree/b": 0o700} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustPlan(t, dir, options()).Digest; got != want {
		t.Error("the umask of a checkout changed the digest")
	}
}

func TestDigestOfAbsolutePath(t *testing.T) {
	var digests []string
	for range 2 {
		dir := checkout(t, source)
		text := replaced(t, "shell: provision/clean.sh", "shell: "+filepath.Join(dir, "provision/clean.sh"))
		write(t, filepath.Join(dir, "imagebuild.yml"), text, 0o644)
		p := mustPlan(t, dir, options())
		digests = append(digests, p.Digest)
		if text, err := p.JSON(); err != nil || strings.Contains(string(text), dir) {
			t.Errorf("the plan shows %s: %v", dir, err)
		}
		if step := p.Trees[0].Steps[0]; step.Inputs[0].Path != "(absolute)/clean.sh" || step.Config.(*testShell).Script != filepath.Join(dir, "provision/clean.sh") {
			t.Errorf("got %+v", step)
		}
	}
	if digests[0] != digests[1] {
		t.Error("the path of the checkout is in the digest")
	}
}

// TestDigestCovers changes one thing after the other. tree says whether the
// change reaches the disk of the first cell, or its wrapping only.
func TestDigestCovers(t *testing.T) {
	before := mustPlan(t, checkout(t, source), options())
	seen := map[string]string{before.Digest: "nothing"}
	check := func(name string, p *Plan, tree bool) {
		t.Helper()
		if other, found := seen[p.Digest]; found {
			t.Errorf("%s: the digest is that of %s", name, other)
		}
		seen[p.Digest] = name
		if (p.Trees[0].ID != before.Trees[0].ID) != tree {
			t.Errorf("%s: the tree changed: %v, want %v", name, !tree, tree)
		}
	}
	for _, tt := range []struct {
		name, old, fresh string
		tree             bool
	}{
		{"the name", "name: golden", "name: silver", true},
		{"the version", "1.2.3", "1.2.4", false},
		{"a platform's field", "cpus: 4", "cpus: 5", false},
		{"a platform's bool", "cpus: 4", "ova: false", false},
		{"a platform's name", "libvirt-big", "libvirt-huge", false},
		{"a platform's type", "virtualbox:", "virtualbox: {type: vmware}", true}, // a step says platform.type
		{"a platform less", "  vmware: {cpus: 4}\n", "  vmware: {cpus: 4, arch: [arm64]}\n", false},
		{"a variable", "default: bookworm", "default: trixie", true},
		{"the source's kind", "source: {bootstrap:", "source: {copy:", true},
		{"a list", "packages: [sudo]", "packages: [sudo, vim]", true},
		{"the disk's size", "size: 4GiB", "size: 5GiB", true},
		{"the firmware", "size: 4GiB", "size: 4GiB, firmware: uefi", true},
		{"the engine", "disk: {", "engine: vm\ndisk: {", true},
		{"guest tools", "disk: {", "guest_tools: false\ndisk: {", true},
		{"the environment", "LEVEL: 3", "LEVEL: 4", true},
		{"which secret", `TOKEN: "${{ env.TOKEN }}"`, `TOKEN: "${{ var.token }}"`, true},
		{"no secret", `Bearer ${{ var.token }}`, `Bearer $${{var.token}}`, true},
		{"a mode", `"0640"`, `"0600"`, true},
		{"no mode", `, mode: "0640"`, "", true},
		{"a mode of zero", `"0640"`, `"0000"`, true},
		{"a step's kind", "shell: echo on ${{ platform.type }}", "file: {}", true},
		{"the order of steps", "  - name: Clean up\n    shell: provision/clean.sh\n    timeout: 5m\n    retries: 1\n", "", true},
		{"where a step goes", "except: [vmware]", "except: [virtualbox]", true},
		{"inline or script", "shell: provision/clean.sh", "shell: {inline: provision/clean.sh}", true},
	} {
		check(tt.name, mustPlan(t, checkout(t, replaced(t, tt.old, tt.fresh)), options()), tt.tree)
	}
	for name, change := range map[string]func(*Options){
		"the epoch":      func(o *Options) { o.Epoch = o.Epoch.Add(time.Second) },
		"a tool":         func(o *Options) { o.Tools["mmdebstrap"] = "1.4" },
		"no tool":        func(o *Options) { delete(o.Tools, "mmdebstrap") },
		"guest packages": func(o *Options) { o.GuestPackages = o.GuestPackages[:1] },
		"an argument":    func(o *Options) { o.Vars = map[string]string{"release": "sid"} },
	} {
		o := options()
		change(&o)
		check(name, mustPlan(t, checkout(t, source), o), true)
	}
	for name, change := range map[string]func(dir string) error{
		"a script": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "provision/clean.sh"), []byte("false\n"), 0o755)
		},
		"an executable bit":  func(dir string) error { return os.Chmod(filepath.Join(dir, "provision/clean.sh"), 0o644) },
		"the source's key":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "files/archive.asc"), nil, 0o644) },
		"a file in a folder": func(dir string) error { return os.WriteFile(filepath.Join(dir, "files/tree/b/c"), nil, 0o644) },
		"one file more":      func(dir string) error { return os.WriteFile(filepath.Join(dir, "files/tree/b/d"), nil, 0o644) },
		"one file less":      func(dir string) error { return os.Remove(filepath.Join(dir, "files/tree/a")) },
		"a file's name": func(dir string) error {
			return os.Rename(filepath.Join(dir, "files/tree/a"), filepath.Join(dir, "files/tree/z"))
		},
		"an empty folder": func(dir string) error { return os.Mkdir(filepath.Join(dir, "files/tree/e"), 0o755) },
		"a link for a file": func(dir string) error {
			return os.Symlink("c", filepath.Join(dir, "files/tree/b/link"))
		},
	} {
		dir := checkout(t, source)
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		check(name, mustPlan(t, dir, options()), true)
	}
}

// What a source was found to be decides the cell's digest, unless the template
// pins it.
func TestPin(t *testing.T) {
	fresh := func() *Plan { return mustPlan(t, checkout(t, source), options()) }
	pin := func(origin string, decides bool) *Plan {
		p := fresh()
		if err := p.Pin(p.Cells[0], origin, decides); err != nil {
			t.Fatal(err)
		}
		return p
	}
	plain, one, again, other, pinned := fresh(), pin("ami-1", true), pin("ami-1", true), pin("ami-2", true), pin("ami-1", false)
	if one.Digest != again.Digest || one.Cells[0].Digest != again.Cells[0].Digest || one.Digest == other.Digest || one.Cells[0].Digest == other.Cells[0].Digest {
		t.Errorf("%s and %s, %s", one.Digest, again.Digest, other.Digest)
	}
	if one.Digest == plain.Digest || one.Cells[1].Digest != plain.Cells[1].Digest || pinned.Digest != plain.Digest || pinned.Cells[0].Origin != "ami-1" {
		t.Errorf("%s, %s, %s", one.Digest, plain.Digest, pinned.Digest)
	}
}
