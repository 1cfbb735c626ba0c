package ssh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// readPacket reads one message with its length.
func readPacket(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head))
	_, err := io.ReadFull(r, body)
	return append(head, body...), err
}

type pipes struct {
	io.Reader
	io.WriteCloser
}

// failing is a real server whose request of number *nth fails, or is the last
// one before the channel closes.
func failing(nth *int, closes bool) func(ssh.Channel) {
	return func(channel ssh.Channel) {
		requests, toServer := io.Pipe()
		fromServer, replies := io.Pipe()
		server, err := sftp.NewServer(pipes{requests, replies})
		if err != nil {
			return
		}
		go func() { _ = server.Serve(); _ = replies.Close() }()
		defer toServer.Close()
		var mu sync.Mutex
		reply := func(p []byte) {
			mu.Lock()
			defer mu.Unlock()
			_, _ = channel.Write(p)
		}
		go func() {
			for {
				p, err := readPacket(fromServer)
				if err != nil {
					return
				}
				reply(p)
			}
		}()
		for n := 0; ; n++ { // the first is the version's
			p, err := readPacket(channel)
			if err != nil || closes && n == *nth {
				return
			}
			if n == *nth && n > 0 {
				reply(packet(101, p[5:9], u32(4), text("no"), text("")))
				continue
			}
			if _, err := toServer.Write(p); err != nil {
				return
			}
		}
	}
}

func TestEveryRequestMayFail(t *testing.T) {
	t.Parallel()
	signer, _ := key(t)
	content := bytes.Repeat([]byte("content "), 10_000) // several packets
	for name, closes := range map[string]bool{"refused": false, "closed": true} {
		nth := 0
		s := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: signer.PublicKey(), Subsystems: map[string]func(ssh.Channel){"sftp": failing(&nth, closes)}})
		for what, last := range map[string]int{"put": 0, "get": 0} {
			for nth = 1; last == 0; nth++ {
				if nth > 40 {
					t.Fatalf("%s, %s: fails for ever", what, name)
				}
				dir := t.TempDir()
				path := filepath.Join(dir, "file")
				if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
				c := dial(t, s.Addr, "root", signer)
				var err error
				want := "old"
				if what == "put" {
					if err = c.Put(t.Context(), guest.File{Path: path, Mode: 0o644}, bytes.NewReader(content)); err == nil {
						want = string(content)
					}
				} else {
					var got strings.Builder
					if err = c.Get(t.Context(), path, &got); err == nil && got.String() != "old" {
						t.Errorf("%s, request %d %s: got %q", what, nth, name, got.String())
					}
				}
				_ = c.Close()
				if err != nil && fault.KindOf(err) != fault.Guest {
					t.Errorf("%s, request %d %s: a problem of %s: %v", what, nth, name, fault.KindOf(err), err)
				}
				if now, errRead := os.ReadFile(path); errRead != nil || string(now) != want && err == nil {
					t.Errorf("%s, request %d %s: %d bytes, %v, after %v", what, nth, name, len(now), errRead, err)
				} else if err != nil && string(now) != "old" && string(now) != string(content) {
					t.Errorf("%s, request %d %s: neither the old content nor the new", what, nth, name)
				}
				if _, errPart := os.Stat(path + ".part"); !errors.Is(errPart, os.ErrNotExist) {
					t.Errorf("%s, request %d %s: left its part", what, nth, name)
				}
				if err == nil && nth > 8 { // those that are allowed to fail are behind us
					last = nth
				}
			}
		}
	}
}
