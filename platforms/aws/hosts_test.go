package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	gossh "golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// hosts stand for what instances are inside: an ssh server each, on one port of
// an address of its own, which takes its host key from the user data as
// cloud-init would, and runs nothing.
type hosts struct {
	t    testing.TB
	port int

	mu     sync.Mutex
	all    map[string]*host
	silent bool                            // they never answer
	closed bool                            // they take no key
	wrong  bool                            // they have a host key of their own
	answer func(line string) (string, int) // to commands that only a test knows
}

type host struct {
	guest  awstest.Guest
	server *testkit.SSHServer
	listen net.Listener
	boots  int
	sealed string // what the script was that came on standard input
}

func newHosts(t testing.TB) *hosts {
	t.Helper()
	l := testkit.Listen(t)
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return &hosts{t: t, port: port, all: map[string]*host{}}
}

// Start implements awstest.Hypervisor.
func (h *hosts) Start(ctx context.Context, g awstest.Guest) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	address := fmt.Sprintf("127.0.0.%d", 2+len(h.all))
	made := &host{guest: g}
	h.all[g.ID] = made
	if h.silent {
		return address, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("%s:%d", address, h.port))
	if err != nil {
		return "", err
	}
	made.listen = listener
	authorized, _, _, _, err := gossh.ParseAuthorizedKey([]byte(g.PublicKey))
	if err != nil {
		return "", err
	}
	key, err := hostKey(g.UserData)
	if err != nil {
		return "", err
	}
	if h.wrong {
		key = nil
	}
	if h.closed {
		authorized = key.PublicKey()
	}
	made.server = testkit.NewSSHServer(h.t, testkit.SSHOptions{
		Authorized: authorized, HostKey: key, Listener: listener, Command: func(line string, c gossh.Channel) error { return h.command(made, line, c) },
	})
	return address, nil
}

// hostKey reads user data as cloud-init does.
func hostKey(userData []byte) (gossh.Signer, error) {
	var config struct {
		Keys map[string]string `yaml:"ssh_keys"`
	}
	if err := yaml.Unmarshal(userData, &config); err != nil || !strings.HasPrefix(string(userData), "#cloud-config\n") {
		return nil, fmt.Errorf("user data: %w", err)
	}
	key, err := gossh.ParsePrivateKey([]byte(config.Keys["ed25519_private"]))
	if err == nil && !strings.HasPrefix(config.Keys["ed25519_public"]+"\n", strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key.PublicKey())))) {
		err = errors.New("user data: two halves of two keys")
	}
	return key, err
}

func (h *hosts) command(m *host, line string, c gossh.Channel) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case strings.Contains(line, "uname -r"):
		_, err := io.WriteString(c, "6.1.0-test\n")
		return err
	case strings.Contains(line, "boot_id"):
		_, err := fmt.Fprintf(c, "00000000-0000-4000-8000-%012d\n", m.boots)
		return err
	case strings.Contains(line, "systemctl reboot"):
		m.boots++
		return testkit.ErrSilent
	case strings.Contains(line, "sh -s"):
		script, err := io.ReadAll(c)
		m.sealed = string(script)
		return err
	}
	if h.answer != nil {
		text, status := h.answer(line)
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		if status != 0 {
			return &run.ExitError{Status: status}
		}
	}
	return nil
}

// Stop implements awstest.Hypervisor.
func (h *hosts) Stop(_ context.Context, id string) error {
	h.Destroy(id)
	return nil
}

// Destroy implements awstest.Hypervisor.
func (h *hosts) Destroy(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.all[id]; m != nil && m.listen != nil {
		_ = m.listen.Close()
		m.server.Drop()
	}
}

// Console implements awstest.Console.
func (h *hosts) Console(string) string {
	return "[    0.000000] Linux version 6.1.0-test\r\nlogin:\r\n"
}

// off is what guests do that switch themselves off.
func (h *hosts) off() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.all {
		_ = m.listen.Close()
		m.server.Drop()
		go m.guest.Off()
	}
}
