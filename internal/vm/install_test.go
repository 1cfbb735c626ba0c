package vm

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/target"
)

// TestArgvInstall holds the command line of an installer: a kernel of its own,
// two optical drives, a service of the guest's network.
func TestArgvInstall(t *testing.T) {
	c := config(target.Hardware{Controller: target.VirtioBlk, NIC: target.VirtioNet})
	c.Restrict, c.NoReboot = true, true
	c.Disks = append(c.Disks, Disk{Path: "installer.iso", Format: "raw", CDROM: true}, Disk{Path: "seed.iso", Format: "raw", CDROM: true})
	c.Kernel, c.Initrd, c.Append = "/w/vmlinuz", "/w/initrd.gz", "console=ttyS0 url=http://10.0.2.100/a,b"
	c.Services = []Service{{Address: "10.0.2.100", Port: 80, Command: []string{"/opt/image build", "relay", "/tmp/a,b"}}}
	argv, err := Argv(c)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "argv-install", lines(argv))
}

func TestArgvInstallRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"initrd without kernel":       func(c *Config) { c.Initrd = "x" },
		"command line without kernel": func(c *Config) { c.Append = "x" },
		"long command line":           func(c *Config) { c.Kernel, c.Append = "k", strings.Repeat("x", maxAppend) },
		"service without network":     func(c *Config) { c.NoNetwork, c.Services = true, []Service{{Command: []string{"x"}}} },
		"service without command":     func(c *Config) { c.Services = []Service{{}} },
	} {
		c := config(target.Hardware{Controller: target.AHCI, NIC: target.E1000})
		change(&c)
		if argv, err := Argv(c); err == nil {
			t.Errorf("%s: %v", name, argv)
		}
	}
}

func TestParseKeys(t *testing.T) {
	for _, test := range []struct {
		text, want string // chords, or a part of the error
		bad        bool
	}{
		{"aB1!", "a shift-b 1 shift-1", false},
		{"a <enter>", "a spc ret", false},
		{"<esc><f12><ctrl-alt-delete>", "esc f12 ctrl-alt-delete", false},
		{"<ctrl-c><meta-r><alt-A>", "ctrl-c meta_l-r alt-shift-a", false},
		{"<lt>-/\\~|\n", "shift-comma minus slash backslash shift-grave_accent shift-backslash ret", false},
		{"", "", false},
		{"abcä", `character 4: 'ä' is not on a US keyboard`, true},
		{"<enter>€", `character 8: '€'`, true},
		{"a<enter", "character 2: the name of a key does not end", true},
		{"<return>", "there is no such key", true},
		{"<hyper-a>", `"hyper" is not a modifier`, true},
		{"<>", "there is no such key", true},
		{"a\x00", "character 2", true},
		{"\xff", "character 1", true},
		{strings.Repeat("a", maxChords+1), "more than 200 keys", true},
	} {
		chords, err := ParseKeys(test.text)
		var got []string
		for _, chord := range chords {
			got = append(got, strings.Join(chord, "-"))
		}
		switch {
		case test.bad && (fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%q: error %v", test.text, err)
		case !test.bad && (err != nil || strings.Join(got, " ") != test.want):
			t.Errorf("%q: %q, %v", test.text, got, err)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add("linux <ctrl-alt-f2>ks=x<enter>")
	f.Fuzz(func(t *testing.T, text string) {
		chords, err := ParseKeys(text)
		if len(chords) > maxChords || err != nil && fault.KindOf(err) != fault.Input {
			t.Errorf("%d chords, %v", len(chords), err)
		}
	})
}

// echo waits for keys and writes each to the serial port.
var echo = []byte{
	0xb4, 0x00, 0xcd, 0x16, // mov ah, 0; int 0x16
	0xba, 0xf8, 0x03, 0xee, // mov dx, 0x3f8; out dx, al
	0xeb, 0xf6, // again
}

// flicker changes every character of the text screen for ever.
var flicker = []byte{
	0xb8, 0x00, 0xb8, 0x8e, 0xc0, 0x31, 0xff, // mov ax, 0xb800; mov es, ax; xor di, di
	0x26, 0xff, 0x05, 0x83, 0xc7, 0x02, 0xeb, 0xf8, // inc word [es:di]; add di, 2; again
}

// reset is the keyboard controller's.
var reset = []byte{0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd}

// console keeps what the guest writes.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newConsole() *console { return &console{more: make(chan struct{}, 1)} }

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(p)
	select {
	case c.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func (c *console) await(t *testing.T, text string) {
	t.Helper()
	for late := time.After(patience); !strings.Contains(c.String(), text); {
		select {
		case <-c.more:
		case <-late:
			t.Fatalf("the guest did not write %q: %q", text, c.String())
		}
	}
}

// TestKeysReachTheGuest types into a settled screen and finds the keys in the
// guest, in order.
func TestKeysReachTheGuest(t *testing.T) {
	t.Parallel()
	seen := newConsole()
	m := start(t, Config{
		Disks: []Disk{{Path: bootSector(t, "ready\r\n", echo...), Format: "raw", Snapshot: true}}, Console: seen,
	})
	seen.await(t, "ready")
	scratch := filepath.Join(t.TempDir(), "screen.png")
	if err := m.WaitSettled(t.Context(), scratch, patience); err != nil {
		t.Fatal(err)
	}
	const text = `aZ09 ~!@#$%^&*()_+{}|:"?-=[]\;',./` + "`"
	if err := m.SendKeys(t.Context(), text+"<lt>>"); err != nil {
		t.Fatal(err)
	}
	seen.await(t, text+"<>")
	if err := m.SendKeys(t.Context(), "ä"); fault.KindOf(err) != fault.Input {
		t.Errorf("error %v", err)
	}
	picture, err := m.Screen(t.Context(), scratch)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WaitPicture(t.Context(), picture, scratch, patience); err != nil {
		t.Error(err)
	}
	if err := m.WaitPicture(t.Context(), image.NewGray(image.Rect(0, 0, 8, 8)), scratch, 10*time.Millisecond); fault.KindOf(err) != fault.Guest {
		t.Errorf("a picture that does not come: %v", err)
	}
	if n, err := m.DiskActivity(t.Context()); err != nil || n < 512 {
		t.Errorf("%d bytes of disk activity, %v", n, err)
	}
}

func TestScreenThatNeverSettles(t *testing.T) {
	t.Parallel()
	seen := newConsole()
	m := start(t, Config{
		Disks: []Disk{{Path: bootSector(t, "ready\r\n", flicker...), Format: "raw", Snapshot: true}}, Console: seen,
	})
	seen.await(t, "ready")
	scratch := filepath.Join(t.TempDir(), "screen.png")
	if err := m.WaitSettled(t.Context(), scratch, 2500*time.Millisecond); fault.KindOf(err) != fault.Guest || !strings.Contains(err.Error(), "did not settle") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := m.WaitSettled(ctx, scratch, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, m.process.Kill)
	if err := m.WaitSettled(t.Context(), scratch, patience); err == nil || strings.Contains(err.Error(), "settle") {
		t.Errorf("killed: %v", err)
	}
}

// TestLastWords: a guest that powers off, or resets, in the middle of a line
// has said that line.
func TestLastWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  []byte
		want error
	}{{"power off", powerOff, ErrPoweredOff}, {"reset", reset, ErrRebooted}} {
		t.Run(test.name, func(t *testing.T) {
			seen := newConsole()
			var lines []string
			text := strings.Repeat("0123456789\r\n", 20) + "the end"
			m := start(t, Config{
				Disks:   []Disk{{Path: bootSector(t, text, test.end...), Format: "raw", Snapshot: true}},
				Console: seen, OnSerial: func(line string) { lines = append(lines, line) }, NoReboot: true,
			})
			if err := ended(t, m); !errors.Is(err, test.want) {
				t.Fatalf("ended with %v", err)
			}
			if !strings.HasSuffix(seen.String(), text) {
				t.Errorf("the console ended with %q", seen)
			}
			if last := m.Serial(); last[len(last)-1] != "the end" || lines[len(lines)-1] != "the end" {
				t.Errorf("the last lines are %q and %q", last[len(last)-1], lines[len(lines)-1])
			}
		})
	}
}

func TestScreensCompared(t *testing.T) {
	paint := func(spots ...image.Rectangle) *image.RGBA {
		p := image.NewRGBA(image.Rect(0, 0, 320, 200))
		for i := range p.Pix {
			p.Pix[i] = 0xff
		}
		for _, r := range spots {
			for y := r.Min.Y; y < r.Max.Y; y++ {
				for x := r.Min.X; x < r.Max.X; x++ {
					p.Set(x, y, color.Black)
				}
			}
		}
		return p
	}
	clear := paint()
	for i := range clear.Pix[:len(clear.Pix)/2] {
		clear.Pix[i] = 0
	}
	plain, cursor, word := paint(), paint(image.Rect(8, 16, 16, 32)), paint(image.Rect(8, 16, 80, 32))
	apart := paint(image.Rect(8, 16, 9, 17), image.Rect(200, 100, 201, 101))
	for i, test := range []struct{ got, want bool }{
		{SameScreen(plain, plain), true},
		{SameScreen(plain, cursor), true},
		{SameScreen(plain, word), false},
		{SameScreen(plain, apart), false},
		{SameScreen(plain, image.NewRGBA(image.Rect(0, 0, 640, 400))), false},
		{shows(plain, plain), true},
		{shows(cursor, plain), true},
		{shows(word, plain), false},
		{shows(word, clear), true},
		{shows(plain, image.NewRGBA(plain.Bounds())), false},
		{shows(image.NewRGBA(image.Rect(0, 0, 640, 400)), plain), false},
	} {
		if test.got != test.want {
			t.Errorf("case %d: %t", i, test.got)
		}
	}
}

func TestReadPicture(t *testing.T) {
	dir := t.TempDir()
	var big bytes.Buffer
	if err := png.Encode(&big, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		t.Fatal(err)
	}
	huge := slices.Clone(big.Bytes())
	copy(huge[16:], []byte{0, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0xff}) // IHDR: width, height
	for name, content := range map[string][]byte{"empty": nil, "text": []byte("hello"), "huge": huge, "cut": big.Bytes()[:big.Len()-20]} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPicture(path); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}
