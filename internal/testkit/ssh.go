package testkit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/run"
)

// SSHOptions says how an SSHServer differs from an honest one. The zero value,
// with a key, is honest.
type SSHOptions struct {
	Authorized ssh.PublicKey
	HostKey    ssh.Signer   // nil makes one
	HostKeys   []ssh.Signer // more of them, of other types
	Listener   net.Listener // nil opens a port on loopback
	// Command answers a command line and returns how it ended; nil runs it with
	// this machine's sh, without sudo. ErrSilent ends the channel without a
	// word.
	Command func(line string, channel ssh.Channel) error
	// Subsystems answer requests by name; nil has sftp, on this machine's files.
	Subsystems map[string]func(ssh.Channel)
	// Shell answers the request of a shell; nil refuses it.
	Shell func(ssh.Channel)
	// Connected sees each connection after the handshake.
	Connected func(*ssh.ServerConn)
}

// ErrSilent is a command's end of which the server says nothing.
var ErrSilent = errors.New("no exit status")

// SSHServer is an SSH server in the test's process, on loopback. It runs
// commands on this machine as the test's own user, so it stands for a guest.
//
//	server := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: key.PublicKey()})
//	client, err := ssh.Dial(ctx, ssh.Config{Addr: server.Addr, User: "root", Signers: []ssh.Signer{key}})
type SSHServer struct {
	Addr    string
	HostKey ssh.PublicKey

	ctx     context.Context //nolint:containedctx // the test's
	options SSHOptions
	mu      sync.Mutex
	lines   []string
	seen    []string
	conns   []net.Conn
}

// NewSSHServer starts a server that ends with the test.
func NewSSHServer(t testing.TB, options SSHOptions) *SSHServer {
	t.Helper()
	host := options.HostKey
	if host == nil {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if host, err = ssh.NewSignerFromKey(private); err != nil {
			t.Fatal(err)
		}
	}
	if options.Subsystems == nil {
		options.Subsystems = map[string]func(ssh.Channel){"sftp": serveFiles}
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(options.Authorized.Marshal()) {
			return nil, io.EOF
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	for _, each := range options.HostKeys {
		config.AddHostKey(each)
	}
	listener := options.Listener
	if listener == nil {
		listener = Listen(t)
	}
	s := &SSHServer{Addr: listener.Addr().String(), HostKey: host.PublicKey(), ctx: t.Context(), options: options}
	go Accept(listener, func(conn net.Conn) { s.serve(conn, config) })
	t.Cleanup(s.Drop)
	return s
}

// Listen opens a port on loopback for the length of the test.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// Accept serves each connection on its own, until the listener is closed.
func Accept(listener net.Listener, serve func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go serve(conn)
	}
}

// Lines are the command lines so far.
func (s *SSHServer) Lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

// Requests are the names of all requests in sessions so far, with the payload
// of those about a terminal.
func (s *SSHServer) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

// Drop breaks every connection, as a machine does that loses its power.
func (s *SSHServer) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
}

func (s *SSHServer) serve(raw net.Conn, config *ssh.ServerConfig) {
	s.mu.Lock()
	s.conns = append(s.conns, raw)
	s.mu.Unlock()
	conn, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	if s.options.Connected != nil {
		go s.options.Connected(conn)
	}
	for each := range channels {
		if channel, requests, err := each.Accept(); err == nil {
			go s.session(channel, requests)
		}
	}
}

// session is RFC 4254, section 6: a program is started once a channel, and
// what comes after that is about its terminal.
func (s *SSHServer) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	started := false
	for request := range requests {
		text := request.Type
		if request.Type == "pty-req" || request.Type == "window-change" {
			text += " " + string(request.Payload)
		}
		s.mu.Lock()
		s.seen = append(s.seen, text)
		s.mu.Unlock()
		program := s.program(request)
		ok := program != nil && !started || strings.Contains(text, " ")
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
		if program != nil && !started {
			started = true
			go func() {
				defer channel.Close()
				if status, err := exitMessage(program(channel)); status != "" {
					_, _ = channel.SendRequest(status, false, err)
				}
			}()
		}
	}
}

func (s *SSHServer) program(request *ssh.Request) func(ssh.Channel) error {
	var message struct{ Text string }
	_ = ssh.Unmarshal(request.Payload, &message)
	quiet := func(fn func(ssh.Channel)) func(ssh.Channel) error {
		if fn == nil {
			return nil
		}
		return func(c ssh.Channel) error { fn(c); return nil }
	}
	switch request.Type {
	case "exec":
		s.mu.Lock()
		s.lines = append(s.lines, message.Text)
		s.mu.Unlock()
		command := s.options.Command
		if command == nil {
			command = s.runHere
		}
		return func(c ssh.Channel) error { return command(message.Text, c) }
	case "subsystem":
		return quiet(s.options.Subsystems[message.Text])
	case "shell":
		return quiet(s.options.Shell)
	}
	return nil
}

// runHere runs a command line on this machine. Without root there is no sudo
// in a test.
func (s *SSHServer) runHere(line string, channel ssh.Channel) error {
	return run.Run(s.ctx, run.Spec{
		Argv:  []string{"sh", "-c", strings.Replace(line, "sudo -n -- ", "", 1)},
		Stdin: channel, Stdout: channel, Stderr: channel.Stderr(),
	})
}

// exitMessage is RFC 4254, section 6.10.
func exitMessage(err error) (name string, payload []byte) {
	status := make([]byte, 4)
	var ended *run.ExitError
	switch {
	case errors.Is(err, ErrSilent):
		return "", nil
	case errors.As(err, &ended) && ended.Signal != "":
		return "exit-signal", ssh.Marshal(struct {
			Signal  string
			Core    bool
			Message string
			Lang    string
		}{Signal: map[string]string{"killed": "KILL", "terminated": "TERM"}[ended.Signal]})
	case errors.As(err, &ended):
		binary.BigEndian.PutUint32(status, uint32(ended.Status))
	case err != nil:
		binary.BigEndian.PutUint32(status, 255)
	}
	return "exit-status", status
}

func serveFiles(channel ssh.Channel) {
	if server, err := sftp.NewServer(channel); err == nil {
		_ = server.Serve()
	}
}

// OpenSSH starts OpenSSH's server on loopback, which lets root in with one key:
// its line of an authorized_keys file. More configuration lines may follow.
func OpenSSH(t testing.TB, authorized string, config ...string) (addr string) {
	t.Helper()
	const binary = "/usr/sbin/sshd"
	if _, err := os.Stat(binary); err != nil || os.Getuid() != 0 {
		Missing(t, "needs %s and root: %v", binary, err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Skip(err)
	}
	if err := run.Run(t.Context(), run.Spec{Argv: []string{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir + "/host"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/keys", []byte(authorized), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := append([]string{"HostKey " + dir + "/host", "AuthorizedKeysFile " + dir + "/keys", "StrictModes no", "UsePAM no", "PermitRootLogin yes"}, config...)
	if err := os.WriteFile(dir+"/config", []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// In inetd mode sshd serves one connection on its standard input: there is
	// no port to race for.
	listener, ctx := Listen(t), t.Context()
	go Accept(listener, func(conn net.Conn) {
		defer conn.Close()
		file, err := conn.(*net.TCPConn).File()
		if err != nil {
			return
		}
		defer file.Close()
		_ = run.Run(ctx, run.Spec{Argv: []string{binary, "-i", "-e", "-f", dir + "/config"}, Stdin: file, Stdout: file})
	})
	return listener.Addr().String()
}
