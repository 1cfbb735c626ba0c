package bootstrap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

type faults []string

func (f *faults) Add(field, format string, args ...any) {
	*f = append(*f, field+": "+fmt.Sprintf(format, args...))
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		config Config
		want   string // part of the only fault; empty for none
	}{
		{"least", Config{Release: "bookworm"}, ""},
		{"mirror", Config{Mirror: "http://mirror.example/debian"}, ""},
		{"option", Config{Mirror: "deb [trusted=yes] http://mirror.example x main"}, "mirror: "},
		{"not a URL", Config{Mirror: "/srv/mirror"}, "mirror: "},
		{"two lines", Config{Mirror: "http://a.example/\nTrusted: yes"}, "mirror: "},
		{"repository", Config{Repositories: []Repository{{URL: "https://a.example/deb", Suites: []string{"stable"}, Key: "k"}}}, ""},
		{"flat", Config{Repositories: []Repository{{URL: "https://a.example/deb", Suites: []string{"./"}, Key: "k"}}}, ""},
		{"flat with components", Config{Repositories: []Repository{{URL: "https://a.example/deb", Suites: []string{"x/"}, Components: []string{"main"}}}}, "repositories[0].suites: "},
		{"bad URL", Config{Repositories: []Repository{{URL: "a b", Suites: []string{"x"}}}}, "repositories[0].url: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got faults
			test.config.Validate(&got)
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], test.want)) {
				t.Errorf("%q", got)
			}
		})
	}
	ubuntu := Config{Distribution: "ubuntu"}
	ubuntu.Validate(&faults{})
	if !slices.Equal(ubuntu.Components, []string{"main", "universe"}) {
		t.Error(ubuntu.Components)
	}
}

func TestExplain(t *testing.T) {
	b := Open(&Config{Distribution: "debian", Release: "bokworm", Repositories: []Repository{{}}}, Request{})
	tests := []struct {
		name, lines string
		kind        fault.Kind
		want        []string
	}{
		{"release", "Err:2 http://a.example/debian bokworm Release\n  404  Not Found [IP: 192.0.2.1 80]\nE: The repository 'http://a.example/debian bokworm Release' does not have a Release file.", fault.Input, []string{`debian has no release "bokworm"`, `did you mean "bookworm"?`}},
		{"other suite", "E: The repository 'http://a.example/x nope Release' does not have a Release file.", fault.Input, []string{`no suite "nope"`}},
		{"package", "E: Unable to locate package opensh", fault.Input, []string{`package "opensh" does not exist`}},
		{"candidate", "E: Package 'exim' has no installation candidate", fault.Input, []string{`"exim"`}},
		{"version", "E: Version '1.2' for 'sudo' was not found", fault.Input, []string{"package sudo has no version 1.2"}},
		{"network", "Err:1 http://192.0.2.1/debian bookworm InRelease\n  Could not connect to 192.0.2.1:9. - connect (111: Connection refused)\nE: Failed to fetch http://192.0.2.1/", fault.Remote, []string{"cannot be reached", "Connection refused"}},
		{"name", "  Temporary failure resolving 'a.example'\nE: The repository 'http://a.example/debian bokworm InRelease' is not signed.", fault.Remote, []string{"cannot be reached"}},
		{"forbidden", "  403  Forbidden [IP: 192.0.2.1 80]\nE: The repository 'http://a.example bokworm InRelease' is not signed.", fault.Remote, []string{"403"}},
		{"key", "W: GPG error: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 1234", fault.Input, []string{"install debian-archive-keyring"}},
		{"disk", "E: Write error - write (28: No space left on device)\nE: The package lists or status file could not be parsed or opened.", fault.Environment, []string{"disk is full"}},
		{"disk, by dpkg", "dpkg: error processing archive x (--unpack):\n cannot copy extracted data: failed to write (No space left on device)\nErrors were encountered while processing:", fault.Environment, []string{"disk is full"}},
		{"script", "dpkg: error processing package x (--configure):\n installed x package post-installation script subprocess returned error exit status 1\nErrors were encountered while processing:\n x", fault.Guest, []string{"post-installation script"}},
		{"unmet", "The following packages have unmet dependencies:\n x : Depends: y but it is not installable\nE: Unable to correct problems, you have held broken packages.", fault.Input, []string{"do not go together"}},
		{"unknown", "something else", fault.Environment, []string{"something else"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out := &output{}
			_, _ = fmt.Fprintln(out, test.lines)
			err := b.explain(t.Context(), out, &run.ExitError{Argv: []string{"mmdebstrap"}, Status: 25})
			if fault.KindOf(err) != test.kind {
				t.Errorf("%s: %v", fault.KindOf(err), err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
	missing := fault.Wrap(fault.Environment, errors.New("mmdebstrap: command not found"))
	if err := b.explain(t.Context(), &output{}, missing); !errors.Is(err, missing) {
		t.Error(err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	out := &output{}
	for range 1000 {
		_, _ = out.Write([]byte(strings.Repeat("E: x", 1000)))
	}
	for range 1000 {
		_, _ = out.Write([]byte("\nE: y\n"))
	}
	if len(out.partial) > run.MaxLine || len(out.tail) > tailLines || len(out.errors) > maxErrors {
		t.Errorf("%d %d %d", len(out.partial), len(out.tail), len(out.errors))
	}
}

const release = `Origin: Debian
Date: Sat, 01 Nov 2026 10:00:00 UTC
MD5Sum:
 00000000000000000000000000000000 10 main/binary-amd64/Packages
SHA256:
 aaaa 10 main/binary-amd64/Packages
 bbbb 10 main/binary-amd64/Packages.xz
 cccc 10 main/binary-arm64/Packages
 dddd 10 main/binary-all/Packages
 ffff 10 contrib/binary-amd64/Packages
 9999 10 main/debian-installer/binary-amd64/Packages
SHA512:
 eeee 10 main/binary-amd64/Packages
`

func TestPackageLists(t *testing.T) {
	want := []string{"aaaa main/binary-amd64/Packages", "dddd main/binary-all/Packages"}
	seen := map[string]bool{}
	if got := packageLists(release, "amd64", []string{"main", "universe"}, seen); !slices.Equal(got, want) || !seen["main"] || seen["universe"] {
		t.Errorf("%q, %v", got, seen)
	}
	signedAnew := strings.Replace(release, "01 Nov", "02 Nov", 1)
	b := Open(&Config{Distribution: "debian", Release: "x", Repositories: []Repository{{Components: []string{"main"}}}}, Request{Arch: "amd64"})
	var states []string
	for _, text := range []string{release, signedAnew, strings.Replace(release, "aaaa", "ffff", 1), "no lists"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.example_InRelease"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		state, err := b.stateOf(dir)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, state)
	}
	if states[0] != states[1] || states[0] == states[2] || states[0] == states[3] {
		t.Errorf("%q", states)
	}
	if _, err := b.stateOf(t.TempDir()); err == nil {
		t.Error("no release file is a state")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a_Release"), []byte(release), 0o600); err != nil {
		t.Fatal(err)
	}
	b.config.Components = []string{"main", "mian"}
	if _, err := b.stateOf(dir); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), `"mian"`) {
		t.Error(err)
	}
}

func TestArmor(t *testing.T) {
	// The check sum of RFC 9580's definition over "123456789" is 0x21cf02.
	if sum := crc24([]byte("123456789")); sum != 0x21cf02 {
		t.Errorf("%#x", sum)
	}
	binary := append([]byte{0x99, 0x01, 0x0d}, make([]byte, 200)...)
	text, err := armor(binary)
	if err != nil || !strings.HasPrefix(text, armorHead+"\n\n") || !strings.HasSuffix(text, armorTail+"\n") {
		t.Errorf("%q, %v", text, err)
	}
	if again, err := armor([]byte(text)); err != nil || again != text {
		t.Errorf("%q, %v", again, err)
	}
	for _, bad := range []string{"", "hello, I am not a key at all", armorHead + "\nabc"} {
		if _, err := armor([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a key", bad)
		}
	}
}

func FuzzArmor(f *testing.F) {
	f.Add([]byte("\x99\x01\x0d0123456789abcdef"))
	f.Fuzz(func(t *testing.T, key []byte) {
		text, err := armor(key)
		if err == nil && !strings.HasSuffix(text, armorTail+"\n") {
			t.Errorf("%q", text)
		}
	})
}

func FuzzPackageLists(f *testing.F) {
	f.Add(release)
	f.Fuzz(func(_ *testing.T, text string) { packageLists(text, "amd64", []string{"main"}, map[string]bool{}) })
}

func TestMeant(t *testing.T) {
	for written, want := range map[string]string{
		"bokworm": `; did you mean "bookworm"?`, "bookwrom": `; did you mean "bookworm"?`, "xyz": "", "": "",
	} {
		if got := meant(written, []string{"bookworm", "trixie"}); got != want {
			t.Errorf("%s: %q", written, got)
		}
	}
}

func TestPool(t *testing.T) {
	dir := t.TempDir()
	p := &pool{filepath.Join(dir, "pool")}
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(filepath.Join(work, "debs"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("debs/a_1%3a2_amd64.deb", "package a")
	write("debs/b_1_all.deb", "package b, not used")
	write("used", "a_1%3a2_amd64.deb\nmissing_1_all.deb\n../../etc/passwd\n\n")
	for range 2 {
		if err := p.keep(t.Context(), work); err != nil {
			t.Fatal(err)
		}
	}
	all, err := p.list()
	if err != nil || len(all) != 1 || all[0].name != "a_1%3a2_amd64.deb" {
		t.Fatalf("%v, %v", all, err)
	}
	staged := t.TempDir()
	if err := p.stage(t.Context(), staged); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(staged, "a_1%3a2_amd64.deb")); err != nil || string(data) != "package a" {
		t.Errorf("%q, %v", data, err)
	}
	if err := os.Remove(all[0].path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(all[0].path, []byte("package A"), 0o600); err != nil {
		t.Fatal(err)
	}
	staged = t.TempDir()
	if err := p.stage(t.Context(), staged); err != nil {
		t.Fatal(err)
	}
	if names, _ := os.ReadDir(staged); len(names) != 0 {
		t.Error("a damaged package was used")
	}
	if all, _ := p.list(); len(all) != 0 {
		t.Error("a damaged package was kept")
	}
}

func TestRepository(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key.asc"), []byte(armorHead+"\n\nAAAA\n"+armorTail+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := Open(&Config{Repositories: []Repository{{URL: "https://a.example/deb", Suites: []string{"x", "y"}, Components: []string{"main"}, Key: "key.asc"}}}, Request{TemplateDir: dir})
	got, err := b.repository(0)
	want := "Types: deb\nURIs: https://a.example/deb\nSuites: x y\nComponents: main\nSigned-By:\n " + armorHead + "\n .\n AAAA\n " + armorTail + "\n"
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	b.config.Repositories[0].Key = "missing"
	if _, err := b.repository(0); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestIdentity(t *testing.T) {
	testkit.Tool(t, "mmdebstrap")
	base := func() (*Config, Request) {
		return New(), Request{Arch: "amd64", Epoch: time.Unix(1, 0), CacheDir: t.TempDir(), TemplateDir: t.TempDir()}
	}
	identity := func(change func(*Config, *Request)) string {
		c, r := base()
		change(c, &r)
		id, err := Open(c, r).identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	same := identity(func(*Config, *Request) {})
	if again := identity(func(*Config, *Request) {}); again != same {
		t.Error("the identity depends on a folder")
	}
	for name, change := range map[string]func(*Config, *Request){
		"release": func(c *Config, _ *Request) { c.Release = "trixie" }, "packages": func(c *Config, _ *Request) { c.Packages = []string{"x"} },
		"extra": func(_ *Config, r *Request) { r.Packages = []string{"x"} }, "arch": func(_ *Config, r *Request) { r.Arch = "arm64" },
		"epoch": func(_ *Config, r *Request) { r.Epoch = time.Unix(2, 0) }, "variant": func(c *Config, _ *Request) { c.Variant = "apt" },
		"recommends": func(c *Config, _ *Request) { c.Recommends = true },
	} {
		if identity(change) == same {
			t.Errorf("%s does not count", name)
		}
	}
}

func TestState(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a", "b.state")
	for _, text := range []string{"one", "two", "two"} {
		if err := remember(name, text); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(name); err != nil || string(data) != text {
			t.Errorf("%q, %v", data, err)
		}
	}
}
