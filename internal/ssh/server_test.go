package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/testkit"
)

// server is an SSH server in this process that runs commands on this machine.
type server struct {
	addr string
	key  ssh.Signer

	mu    sync.Mutex
	lines []string
}

func newServer(t *testing.T, authorized ssh.PublicKey) *server {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(authorized.Marshal()) {
			return nil, io.EOF
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	listener := listen(t)
	s := &server{addr: listener.Addr().String(), key: host}
	go accept(listener, func(conn net.Conn) {
		_, channels, requests, err := ssh.NewServerConn(conn, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for each := range channels {
			channel, requests, err := each.Accept()
			if err == nil {
				go s.session(channel, requests)
			}
		}
	})
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func accept(listener net.Listener, serve func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go serve(conn)
	}
}

func (s *server) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for request := range requests {
		if request.Type != "exec" {
			_ = request.Reply(false, nil)
			continue
		}
		_ = request.Reply(true, nil)
		line := string(request.Payload[4:])
		s.mu.Lock()
		s.lines = append(s.lines, line)
		s.mu.Unlock()
		// Without root there is no sudo in the test.
		cmd := exec.Command("sh", "-c", strings.Replace(line, "sudo -n -- ", "", 1))
		cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, channel, channel.Stderr()
		stdin, _ := cmd.StdinPipe()
		go func() { _, _ = io.Copy(stdin, channel); _ = stdin.Close() }()
		err := cmd.Run()
		status := make([]byte, 4)
		var state *exec.ExitError
		if errors.As(err, &state) {
			if ws := state.Sys().(syscall.WaitStatus); ws.Signaled() {
				_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Signal  string
					Core    bool
					Message string
					Lang    string
				}{Signal: map[syscall.Signal]string{syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM"}[ws.Signal()]}))
				return
			}
			binary.BigEndian.PutUint32(status, uint32(state.ExitCode()))
		}
		_, _ = channel.SendRequest("exit-status", false, status)
		return
	}
}

// sshd starts OpenSSH's server on loopback, with one key.
func sshd(t *testing.T, authorized string) (addr string) {
	t.Helper()
	const binary = "/usr/sbin/sshd"
	if _, err := os.Stat(binary); err != nil || os.Getuid() != 0 {
		testkit.Missing(t, "needs %s and root: %v", binary, err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/host").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(dir+"/keys", []byte(authorized), 0o600); err != nil {
		t.Fatal(err)
	}
	config := "HostKey " + dir + "/host\nAuthorizedKeysFile " + dir + "/keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
	if err := os.WriteFile(dir+"/config", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// In inetd mode sshd serves one connection on its standard input: there is
	// no port to race for.
	listener := listen(t)
	go accept(listener, func(conn net.Conn) {
		defer conn.Close()
		file, err := conn.(*net.TCPConn).File()
		if err != nil {
			return
		}
		defer file.Close()
		cmd := exec.Command(binary, "-i", "-e", "-f", dir+"/config")
		cmd.Stdin, cmd.Stdout = file, file
		_ = cmd.Run()
	})
	return listener.Addr().String()
}
