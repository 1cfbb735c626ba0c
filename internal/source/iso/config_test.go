package iso

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fetch"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/template"
)

type faults []string

func (f *faults) Add(field, format string, args ...any) {
	*f = append(*f, field+": "+fmt.Sprintf(format, args...))
}

func TestValidate(t *testing.T) {
	file := fetch.Config{Path: "x.iso"}
	answered := Unattended{Preseed: "p"}
	for _, test := range []struct {
		name   string
		change Config
		want   string // the beginning of the only fault; empty for none
	}{
		{"least", Config{Config: file, Unattended: answered}, ""},
		{"no disc", Config{Unattended: answered}, ": it says neither url nor path"},
		{"download without digest", Config{Config: fetch.Config{URL: "https://a.example/x.iso"}, Unattended: answered}, "url: a download needs a digest"},
		{"files instead of a disc", Config{Kernel: "k", Initrd: "i", Unattended: answered}, ""},
		{"digest of no disc", Config{Config: fetch.Config{Checksum: "sha256:1"}, Kernel: "k", Initrd: "i", Unattended: answered}, ": it says neither url nor path"},
		{"on no disc", Config{Kernel: "iso:k", Initrd: "i", Unattended: answered}, ": it says neither"},
		{"no answers", Config{Config: file}, "unattended: nothing answers"},
		{"two kinds", Config{Config: file, Unattended: Unattended{Preseed: "p", Kickstart: "k"}}, "unattended: preseed and kickstart exclude"},
		{"Windows over HTTP", Config{Config: file, Via: viaHTTP, Unattended: Unattended{Autounattend: "a"}}, "via: Windows Setup"},
		{"preseed from the menu", Config{Config: file, Unattended: answered, Keys: []Key{{Type: "x"}}}, "via: from the disc's own boot menu"},
		{"preseed over HTTP from the menu", Config{Config: file, Via: viaHTTP, Unattended: answered, Keys: []Key{{Type: "x"}}}, ""},
		{"keys alone", Config{Config: file, Keys: []Key{{Type: "<enter>"}}}, ""},
		{"no such key", Config{Config: file, Keys: []Key{{Type: "ok"}, {Type: "abcö"}}}, "keys[1].type: keys, character 4: 'ö'"},
		{"initrd alone", Config{Config: file, Unattended: answered, Initrd: "i"}, "initrd: an initrd without a kernel"},
		{"kernel alone", Config{Config: file, Unattended: answered, Kernel: "k"}, "kernel: an installer's kernel needs its initrd"},
		{"parameters for the menu", Config{Config: file, Unattended: Unattended{Autounattend: "a"}, Append: "x"}, "append: the disc's own boot menu"},
		{"two lines", Config{Config: file, Unattended: answered, Append: "a\nb"}, "append: kernel parameters stand on one line"},
		{"no time", Config{Config: file, Unattended: answered, Timeout: -1}, "timeout: it must be longer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := test.change
			if c.Via == "" {
				c.Via = viaDisk
			}
			if c.Timeout == 0 {
				c.Timeout = time.Hour
			}
			c.Silence = time.Minute
			var got faults
			c.Validate(&got)
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) == 0 || !strings.HasPrefix(got[0], test.want)) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestParameters(t *testing.T) {
	for _, test := range []struct {
		kind  *kind
		via   string
		more  string
		label string
		want  string
	}{
		{nil, viaDisk, "a  b", "", "console=ttyS0,115200 a b"},
		{preseed, viaDisk, "", "Debian 12", "console=ttyS0,115200 auto=true priority=critical DEBIAN_FRONTEND=text TERM=dumb"},
		{preseed, viaHTTP, "x=y", "", "console=ttyS0,115200 auto=true priority=critical DEBIAN_FRONTEND=text TERM=dumb url=http://10.0.2.100/preseed.cfg netcfg/get_nameservers=10.0.2.3 netcfg/no_default_route=true x=y"},
		{kickstart, viaDisk, "", "Fedora 40", `console=ttyS0,115200 inst.cmdline inst.ks=hd:LABEL=OEMDRV:/ks.cfg inst.stage2=hd:LABEL=Fedora\x2040`},
		{kickstart, viaHTTP, "inst.repo=cdrom", "F", "console=ttyS0,115200 inst.cmdline ip=dhcp inst.ks=http://10.0.2.100/ks.cfg inst.repo=cdrom"},
		{autoinstall, viaDisk, "", "Ubuntu", "console=ttyS0,115200 autoinstall"},
		{autoinstall, viaHTTP, "", "Ubuntu", "console=ttyS0,115200 autoinstall ip=dhcp ds=nocloud-net;s=http://10.0.2.100/"},
	} {
		c := Config{Via: test.via, Append: test.more}
		if diff := cmp.Diff(test.want, c.parameters(test.kind, test.label)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestQuestions(t *testing.T) {
	for text, asks := range map[string]bool{
		"Prompt: '?' for help, default=1>":                         true,
		"<Go Back>                                     <Continue>": true,
		"Please make a selection from the above ['b' to begin]:":   true,
		"Continue with autoinstall? (yes|no)":                      true,
		"Press any key to boot from CD or DVD...":                  true,
		"Format it now? [y/N]":                                     true,
		"Really? (yes/no):":                                        true,
		"~ #":                                                      true,
		"[anaconda root@localhost ~]#":                             true,
		"root@ubuntu-server:/#":                                    true,
		"Please enter passphrase for disk sda2:":                   true,
		"(initramfs)":                                              true,
		"Unpacking linux-image (6.1)":                              false,
		"ubuntu-server login:":                                     false, // behind it the installer works
		"Installing the base system  ...  45%":                     false,
		"":                                                         false,
	} {
		if _, got := asksFor(text); got != asks {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain\r":                      "plain",
		"\x1b[1;31mred\x1b[0m\x07 end": "red end",
		" 10%\r 20%\r 30%":             "30%",
		"\x1b]0;title\x07text\xff":     "text�",
		"a\x00b\u009bc":                "abc",
	} {
		if got := clean([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestWatchIsBounded: a guest may write what it likes.
func TestWatchIsBounded(t *testing.T) {
	task := newNotes()
	w := newWatch(task, time.Second)
	for range 10 {
		_, _ = w.Write([]byte(strings.Repeat("x", 10_000)))
	}
	_, _ = w.Write([]byte(strings.Repeat("\n", 10_000) + "Unpacking a\nUnpacking b\nlast"))
	if len(w.lines) > tailLines || len(w.line) > maxLine || strings.Count(task.String(), "the system is being installed") != 1 {
		t.Errorf("%d lines, %d bytes", len(w.lines), len(w.line))
	}
	if !strings.HasSuffix(w.tail(), "Unpacking b\n    last") {
		t.Error(w.tail())
	}
}

func TestFilesAndKey(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"disc", "answers", "k", "i", "p"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := func() *Config {
		c := New()
		c.Path, c.Kernel, c.Initrd, c.Unattended.Kickstart = "disc", "k", "iso:i", "answers"
		c.Keys = []Key{{Type: "x", Picture: "p"}}
		return c
	}
	key := func(c *Config, r Request) string {
		r.TemplateDir, r.CacheDir = dir, dir
		k, err := Open(c, r).Key(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	want := []template.FileRef{
		{Field: "path", Path: "disc"}, {Field: "unattended.kickstart", Path: "answers"}, {Field: "kernel", Path: "k"}, {Field: "keys[0].picture", Path: "p"},
	}
	if got := config().Files(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	base := key(config(), Request{})
	other := map[string]func(*Config, *Request){
		"memory": func(c *Config, _ *Request) { c.Memory *= 2 },
		"append": func(c *Config, _ *Request) { c.Append = "quiet" },
		"via":    func(c *Config, _ *Request) { c.Via = viaHTTP },
		"keys":   func(c *Config, _ *Request) { c.Keys[0].Type = "y" },
		"disk":   func(_ *Config, r *Request) { r.Disk = size.GiB },
	}
	seen := map[string]string{base: "nothing"}
	for name, change := range other {
		c, r := config(), Request{}
		change(c, &r)
		k := key(c, r)
		if seen[k] != "" {
			t.Errorf("%s and %s have one key", name, seen[k])
		}
		seen[k] = name
	}
	c := config()
	c.Timeout, c.Silence = time.Minute, time.Second
	if key(c, Request{}) != base {
		t.Error("time limits decide the key")
	}
	for _, name := range []string{"answers", "k", "p", "disc"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("other "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		k := key(config(), Request{})
		if seen[k] != "" {
			t.Errorf("%s does not decide the key", name)
		}
		seen[k] = name
	}
}
