package ssh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/testkit"
)

func TestWhichWayAFileTakes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		user     string
		file     guest.File
		sftp     bool
		commands int // besides
	}{
		"root":              {"root", guest.File{Mode: 0o644}, true, 0},
		"a setuid program":  {"root", guest.File{Mode: 0o4755}, true, 0},
		"another's":         {"root", guest.File{Mode: 0o644, Owner: "daemon"}, true, 1},
		"a secret":          {"root", guest.File{Mode: 0o640}, false, 2},
		"one who uses sudo": {"vagrant", guest.File{Mode: 0o644}, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			signer, _ := key(t)
			s := newServer(t, signer)
			c := dial(t, s.Addr, test.user, signer)
			for range 2 { // the second in the same session
				test.file.Path = filepath.Join(t.TempDir(), "new", "file")
				if err := c.Put(t.Context(), test.file, strings.NewReader("content")); err != nil {
					t.Fatal(err)
				}
				if info, err := os.Stat(test.file.Path); err != nil || info.Mode() != fileMode(test.file.Mode) {
					t.Errorf("mode %v, %v", info.Mode(), err)
				}
				if info, err := os.Stat(filepath.Dir(test.file.Path)); err != nil || info.Mode().Perm() != 0o755 {
					t.Errorf("folder's mode %v, %v", info.Mode(), err)
				}
			}
			sessions := 0
			for _, each := range s.Requests() {
				if each == "subsystem" {
					sessions++
				}
			}
			if want := map[bool]int{true: 1}[test.sftp]; sessions != want || len(s.Lines()) != 2*test.commands {
				t.Errorf("%d sftp sessions, commands %q", sessions, s.Lines())
			}
		})
	}
}

func TestPutInPlaceOf(t *testing.T) {
	fileServers(t, func(t *testing.T, c *Client) {
		dir := t.TempDir()
		outside := filepath.Join(dir, "outside")
		if err := errors.Join(os.WriteFile(outside, []byte("old"), 0o600), os.Symlink(outside, filepath.Join(dir, "link")), os.Mkdir(filepath.Join(dir, "folder"), 0o755)); err != nil {
			t.Fatal(err)
		}
		if err := c.Put(t.Context(), guest.File{Path: filepath.Join(dir, "link"), Mode: 0o644}, strings.NewReader("new")); err != nil {
			t.Fatal(err)
		}
		if text, _ := os.ReadFile(outside); string(text) != "old" {
			t.Error("a link was followed")
		}
		for _, path := range []string{filepath.Join(dir, "folder"), filepath.Join(outside, "below", "a", "file")} {
			if err := c.Put(t.Context(), guest.File{Path: path, Mode: 0o644}, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "directory") {
				t.Errorf("put %s: %v", path, err)
			}
		}
		// A kernel's file has no size, and comes in pieces.
		if err := c.Get(t.Context(), "/proc/kallsyms", &limited{left: 100_000}); err == nil || !strings.Contains(err.Error(), "no limit") {
			t.Errorf("100 kB of /proc/kallsyms: %v", err)
		}
		if err := c.Get(t.Context(), filepath.Join(dir, "folder"), io.Discard); err == nil {
			t.Error("got a folder")
		}
		broken := errors.New("broken")
		if err := c.Get(t.Context(), outside, failingWriter{broken}); !errors.Is(err, broken) {
			t.Errorf("get into a broken writer: %v", err)
		}
	})
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

// packet is a message of the protocol, section 3 of its draft.
func packet(kind byte, body ...[]byte) []byte {
	content := append([]byte{kind}, slices.Concat(body...)...)
	return append(u32(uint32(len(content))), content...)
}

func u32(n uint32) []byte       { return binary.BigEndian.AppendUint32(nil, n) }
func text(s string) []byte      { return append(u32(uint32(len(s))), s...) }
func version() []byte           { return packet(2, u32(3), text(posixRename), text("1")) }
func status(id []byte) []byte   { return packet(101, id, u32(0), text("ok"), text("")) }
func attrs(id []byte) []byte    { return packet(105, id, u32(4), u32(0o100644)) }
func noFile(id []byte) []byte   { return packet(101, id, u32(2), text("no such file"), text("")) }
func handle(id []byte) []byte   { return packet(102, id, text("../../../../etc/shadow")) }
func foldered(id []byte) []byte { return packet(105, id, u32(4), u32(0o040755)) }

const (
	fxpOpen, fxpRead, fxpLstat, fxpFstat, fxpStat = 3, 5, 7, 8, 17
)

// hostileSFTP says its version and then answers as it likes.
func hostileSFTP(answer func(kind byte, id []byte) []byte) func(ssh.Channel) {
	return func(channel ssh.Channel) {
		for head := make([]byte, 4); ; {
			if _, err := io.ReadFull(channel, head); err != nil {
				return
			}
			body := make([]byte, binary.BigEndian.Uint32(head))
			if _, err := io.ReadFull(channel, body); err != nil {
				return
			}
			reply := version()
			if body[0] != 1 {
				reply = answer(body[0], body[1:5])
			}
			if reply == nil {
				continue
			}
			if _, err := channel.Write(reply); err != nil {
				return
			}
		}
	}
}

// usual answers as an honest server would, with a regular file of any name.
func usual(kind byte, id []byte) []byte {
	switch kind {
	case fxpOpen:
		return handle(id)
	case fxpLstat:
		return noFile(id)
	case fxpStat:
		return foldered(id)
	case fxpFstat:
		return packet(105, id, u32(2), u32(0), u32(0)) // root's
	}
	return status(id)
}

func TestHostileSFTP(t *testing.T) {
	t.Parallel()
	signer, _ := key(t)
	always := func(text []byte) func(ssh.Channel) {
		return hostileSFTP(func(byte, []byte) []byte { return text })
	}
	reading := func(answer func(id []byte) []byte) func(ssh.Channel) { // a regular file that is read
		return hostileSFTP(func(kind byte, id []byte) []byte {
			switch kind {
			case fxpStat, fxpLstat:
				return attrs(id)
			case fxpRead:
				return answer(id)
			}
			return usual(kind, id)
		})
	}
	for name, test := range map[string]struct {
		serve    func(ssh.Channel)
		put, get string // what the error says; empty means that it works, another way
	}{
		"says nothing": {func(c ssh.Channel) { _, _ = io.Copy(io.Discard, c) }, "", ""},
		"ends":         {func(ssh.Channel) {}, "", ""},
		"greets": {func(c ssh.Channel) {
			_, _ = io.WriteString(c, "Welcome to \x1b[31mthis\x1b[0m machine, where nobody may log in\n")
		}, "", ""},
		"sends too much":      {func(c ssh.Channel) { _, _ = io.Copy(c, endless("\xff\xff\xff\xff")) }, "", ""},
		"another version":     {func(c ssh.Channel) { _, _ = c.Write(packet(2, u32(6))) }, "", ""},
		"no rename":           {func(c ssh.Channel) { _, _ = c.Write(packet(2, u32(3))) }, "", ""},
		"stops after hello":   {always(nil), "does not answer within", "does not answer within"},
		"answers another":     {always(status(u32(77))), "connection lost", "connection lost"},
		"a packet of 4 GB":    {always([]byte("\xff\xff\xff\xff\x65")), "connection lost", "connection lost"},
		"a packet of nothing": {always(u32(0)), "connection lost", "connection lost"},
		"half a status":       {hostileSFTP(func(_ byte, id []byte) []byte { return packet(101, id, []byte{0}) }), "packet too short", "packet too short"},
		"half a handle":       {hostileSFTP(func(_ byte, id []byte) []byte { return packet(102, id, u32(1000)) }), "sftp", "sftp"},
		"names for all": {hostileSFTP(func(_ byte, id []byte) []byte {
			return packet(104, id, u32(1), text("../../../../tmp/owned"), text("../../x"), u32(0))
		}), "unimplemented packet", "unimplemented packet"},
		"attributes of a terabyte": {hostileSFTP(func(_ byte, id []byte) []byte {
			return packet(105, id, u32(0x8000000f), bytes.Repeat([]byte{0xff}, 32))
		}), "packet too short", "packet too short"},
		"escape sequences": {hostileSFTP(func(_ byte, id []byte) []byte {
			return packet(101, id, u32(4), text("\x1b]0;owned\a"+strings.Repeat("long ", 20_000)), text(""))
		}), "more bytes)", "more bytes)"},
		"names with ../":    {hostileSFTP(usual), "works", "not a regular file"},
		"nothing, for ever": {reading(func(id []byte) []byte { return packet(103, id, u32(0)) }), "", "does not answer within"},
		"more than asked":   {reading(func(id []byte) []byte { return packet(103, id, text(strings.Repeat("x", 100_000))) }), "", "no limit"},
		"ends early": {hostileSFTP(func(kind byte, id []byte) []byte {
			if kind == fxpStat {
				return packet(105, id, u32(5), u32(0), u32(1000), u32(0o100644))
			}
			if kind == fxpRead {
				return packet(101, id, u32(1), text("end"), text(""))
			}
			return usual(kind, id)
		}), "", "it ended after 0 of 1000 bytes"},
		"less than it says": {reading(func(id []byte) []byte { return packet(103, id, u32(1000), []byte("x")) }), "", "packet too short"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: signer.PublicKey(), Subsystems: map[string]func(ssh.Channel){"sftp": test.serve}})
			dir := t.TempDir()
			limit := 20 * time.Second // no answer of these is slow
			if slices.Contains([]string{"says nothing", "stops after hello", "nothing, for ever"}, name) {
				limit = 300 * time.Millisecond
			}
			for what, want := range map[string]string{"put": test.put, "get": test.get} {
				c := dial(t, s.Addr, "root", signer)
				c.transfers.start, c.transfers.stall = limit, limit
				path := filepath.Join(dir, "file")
				if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
					t.Fatal(err)
				}
				do := func() error {
					if what == "put" {
						return c.Put(t.Context(), guest.File{Path: path, Mode: 0o644}, strings.NewReader("content"))
					}
					return c.Get(t.Context(), path, &limited{left: 1 << 19})
				}
				err := do()
				switch {
				case want == "works" && err == nil, want == "" && err == nil:
				case want == "" && what == "put": // whatever it says to a read, only reads matter here
				case want == "" || err == nil || !strings.Contains(err.Error(), want):
					t.Errorf("%s: %v, want %q", what, err, want)
				case len(err.Error()) > 2*maxForeignText || strings.ContainsAny(err.Error(), "\x1b\a"):
					t.Errorf("%s: %d bytes: %q", what, len(err.Error()), err)
				}
				if err != nil && want != "works" && fault.KindOf(err) == fault.Bug && want != "no limit" {
					t.Errorf("%s: a bug of ours: %v", what, err)
				}
				if err != nil && c.transfers.off { // the next try takes the other way
					if err := do(); err != nil {
						t.Errorf("%s, again: %v", what, err)
					}
				}
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 || entries[0].Name() != "file" {
				t.Errorf("left %v, %v", entries, err)
			}
		})
	}
}

type endless string

func (e endless) Read(p []byte) (int, error) { return copy(p, e), nil }

// limited refuses what is too much.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("no limit to this file")
	}
	return len(p), nil
}

func TestTransferEndsWithItsContext(t *testing.T) {
	signer, _ := key(t)
	s := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: signer.PublicKey(), Subsystems: map[string]func(ssh.Channel){
		"sftp": hostileSFTP(func(byte, []byte) []byte { return nil }),
	}})
	c := dial(t, s.Addr, "root", signer)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Get(ctx, "/etc/passwd", io.Discard); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// FuzzSFTP answers with whatever it likes: nothing may panic or hang.
func FuzzSFTP(f *testing.F) {
	signer, _ := key(f)
	var answers []byte
	s := testkit.NewSSHServer(f, testkit.SSHOptions{Authorized: signer.PublicKey(), Subsystems: map[string]func(ssh.Channel){
		"sftp": func(channel ssh.Channel) {
			go func() { _, _ = io.Copy(io.Discard, channel) }()
			_, _ = channel.Write(append(version(), answers...))
		},
	}})
	c, err := Dial(f.Context(), Config{Addr: s.Addr, User: "root", Signers: []ssh.Signer{signer}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close() })
	c.transfers.stall = 200 * time.Millisecond
	f.Add(slices.Concat(attrs(u32(1)), handle(u32(2)), packet(103, u32(3), text("x"))))
	f.Add(slices.Concat(noFile(u32(1))))
	f.Add([]byte("\x00\x00\x00\x05\x65\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		answers = stream
		c.transfers.off = false
		c.transfers.idle = nil
		if err := c.Get(t.Context(), "/etc/hostname", &limited{left: 1 << 20}); err != nil && len(err.Error()) > 3*maxForeignText {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
