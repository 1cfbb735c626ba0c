package ssh

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/testkit"
)

func key(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	seed, err := NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	signer, line, err := SeedKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	return signer, line
}

func dial(t *testing.T, addr, user string, signer ssh.Signer) *Client {
	t.Helper()
	client, err := Dial(t.Context(), Config{Addr: addr, User: user, Signers: []ssh.Signer{signer}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newServer(t *testing.T, authorized ssh.Signer) *testkit.SSHServer {
	t.Helper()
	return testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: authorized.PublicKey()})
}

// servers runs a test against both kinds of servers.
func servers(t *testing.T, test func(t *testing.T, c *Client)) {
	t.Helper()
	serversWith(t, map[string]string{"openssh": "Subsystem sftp internal-sftp"}, test)
}

// fileServers runs it against one without the subsystem besides.
func fileServers(t *testing.T, test func(t *testing.T, c *Client)) {
	t.Helper()
	serversWith(t, map[string]string{"openssh": "Subsystem sftp internal-sftp", "openssh without sftp": ""}, test)
}

func serversWith(t *testing.T, openssh map[string]string, test func(t *testing.T, c *Client)) {
	t.Helper()
	t.Parallel()
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		signer, _ := key(t)
		test(t, dial(t, newServer(t, signer).Addr, "root", signer))
	})
	for name, config := range openssh {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signer, line := key(t)
			test(t, dial(t, testkit.OpenSSH(t, line, config), "root", signer))
		})
	}
}

func TestVagrantKeys(t *testing.T) {
	signers, err := VagrantKeys()
	if err != nil {
		t.Fatal(err)
	}
	// As ssh-keygen prints them for the project's own public halves.
	for i, want := range []string{"SHA256:1M4RzhMyWuFS/86uPY/ce2prh/dVTHW7iD2RhpquOZA", "SHA256:WkvqjnyPAeC0cbPErYiGP9vqHdgL1MqqvPdIe3lvHgI"} {
		if got := ssh.FingerprintSHA256(signers[i].PublicKey()); got != want {
			t.Errorf("key %d: %s, want %s", i, got, want)
		}
	}
}

func TestRun(t *testing.T) {
	servers(t, func(t *testing.T, c *Client) {
		for _, test := range []struct {
			name    string
			command guest.Command
			stdin   string
			want    string
			status  int
			signal  string
		}{
			{name: "output", command: guest.Command{Argv: []string{"echo", "a b", "c'd"}}, want: "a b c'd\n"},
			{name: "environment", command: guest.Command{Argv: []string{"sh", "-c", `echo "$A"`}, Env: []string{"A=it's\n$(x) \"y\" ü"}}, want: "it's\n$(x) \"y\" ü\n"},
			{name: "directory", command: guest.Command{Argv: []string{"pwd"}, Dir: "/usr"}, want: "/usr\n"},
			{name: "stdin", command: guest.Command{Argv: []string{"cat"}}, stdin: "hello", want: "hello"},
			{name: "stdin is empty", command: guest.Command{Argv: []string{"cat"}}},
			{name: "stderr", command: guest.Command{Argv: []string{"sh", "-c", "echo x >&2"}}, want: "x\n"},
			{name: "status", command: guest.Command{Argv: []string{"sh", "-c", "exit 42"}}, status: 42},
			{name: "missing", command: guest.Command{Argv: []string{"no-such-command"}}, want: "env: 'no-such-command': No such file or directory\n", status: 127},
			{name: "signal", command: guest.Command{Argv: []string{"sh", "-c", "kill -9 $$"}}, status: -1, signal: "killed"},
		} {
			t.Run(test.name, func(t *testing.T) {
				var out bytes.Buffer
				test.command.Stdout, test.command.Stderr = &out, &out
				if test.stdin != "" {
					test.command.Stdin = strings.NewReader(test.stdin)
				}
				err := c.Run(t.Context(), test.command)
				var exit *guest.ExitError
				if errors.As(err, &exit) {
					if exit.Status != test.status || exit.Signal != test.signal {
						t.Errorf("ended with %d %q, want %d %q", exit.Status, exit.Signal, test.status, test.signal)
					}
				} else if err != nil || test.status != 0 {
					t.Errorf("error %v, want status %d", err, test.status)
				}
				if got := strings.NewReplacer("‘", "'", "’", "'").Replace(out.String()); got != test.want {
					t.Errorf("wrote %q, want %q", got, test.want)
				}
			})
		}
	})
}

func TestPutAndGet(t *testing.T) {
	fileServers(t, func(t *testing.T, c *Client) {
		path := filepath.Join(t.TempDir(), "a b/ü'", "file")
		content := make([]byte, 300_000)
		_, _ = rand.Read(content)
		if err := c.Put(t.Context(), guest.File{Path: path, Mode: 0o4750}, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o750|os.ModeSetuid {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		var back bytes.Buffer
		if err := c.Get(t.Context(), path, &back); err != nil || !bytes.Equal(back.Bytes(), content) {
			t.Errorf("got %d bytes, %v", back.Len(), err)
		}
		broken := errors.New("broken")
		source := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))
		if err := c.Put(t.Context(), guest.File{Path: path, Mode: 0o600}, source); !errors.Is(err, broken) {
			t.Errorf("error %v, want the reader's", err)
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, content) {
			t.Error("a failed put changed the file")
		}
		if _, err := os.Stat(path + ".part"); !errors.Is(err, os.ErrNotExist) {
			t.Error("a failed put left its part")
		}
		if err := c.Get(t.Context(), path+"-missing", io.Discard); fault.KindOf(err) != fault.Guest || !strings.Contains(err.Error(), "No such file") {
			t.Errorf("get of a missing file: %v", err)
		}
		if err := c.Put(t.Context(), guest.File{Path: path, Owner: "no-such-user"}, strings.NewReader("x")); fault.KindOf(err) != fault.Guest {
			t.Errorf("put for an unknown owner: %v", err)
		}
	})
}

func TestCancelKillsWhatTheCommandStarted(t *testing.T) {
	servers(t, func(t *testing.T, c *Client) {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- c.Run(ctx, guest.Command{Argv: []string{"sh", "-c", "setsid sleep 1000 & echo $!; wait"}, Stdout: w})
		}()
		pid := make([]byte, 32)
		n, _ := r.Read(pid)
		go func() { _, _ = io.Copy(io.Discard, r) }()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		status, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid[:n])) + "/status")
		if err == nil && !strings.Contains(string(status), "State:\tZ") {
			t.Errorf("process %s is alive", pid[:n])
		}
	})
}

func TestSudo(t *testing.T) {
	signer, _ := key(t)
	s := newServer(t, signer)
	c := dial(t, s.Addr, "vagrant", signer)
	if err := c.Run(t.Context(), guest.Command{Argv: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.Lines()[0], "exec sudo -n -- sh -c ") {
		t.Errorf("ran %q", s.Lines()[0])
	}
}

func TestHostileServers(t *testing.T) {
	t.Parallel()
	signer, _ := key(t)
	endless := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			defer conn.Close()
			for {
				if _, err := io.WriteString(conn, text); err != nil {
					return
				}
			}
		}
	}
	for name, serve := range map[string]func(net.Conn){
		"silent":         func(net.Conn) {},
		"closes":         func(conn net.Conn) { _ = conn.Close() },
		"endless banner": endless("welcome to a line without an end "),
		"endless lines":  endless("welcome\r\n"),
		"huge packet": func(conn net.Conn) {
			_, _ = io.WriteString(conn, "SSH-2.0-x\r\n\xff\xff\xff\xff")
		},
		"flood after version": func(conn net.Conn) {
			_, _ = io.WriteString(conn, "SSH-2.0-x\r\n")
			endless("\x00\x00\x00\x0c\x0a\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")(conn)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener := testkit.Listen(t)
			go testkit.Accept(listener, serve)
			ctx, cancel := context.WithTimeout(t.Context(), 450*time.Millisecond)
			defer cancel()
			_, err := Dial(ctx, Config{Addr: listener.Addr().String(), User: "root", Signers: []ssh.Signer{signer}, AttemptTimeout: 200 * time.Millisecond})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want the deadline's", err)
			}
		})
	}
}

// deaf is QEMU's network in front of a guest that boots: what was begun before
// it was up is never answered.
type deaf struct {
	net.Listener
	until time.Time
}

func (d deaf) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil || time.Now().After(d.until) {
			return conn, err
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn) // until the client gives it up
			_ = conn.Close()
		}()
	}
}

func TestEarlyConnectionsHang(t *testing.T) {
	t.Parallel()
	signer, _ := key(t)
	const boot = 4 * time.Second
	server := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: signer.PublicKey(), Listener: deaf{testkit.Listen(t), time.Now().Add(boot)}})
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second) // less than AttemptTimeout
	defer cancel()
	client, err := Dial(ctx, Config{Addr: server.Addr, User: "root", Signers: []ssh.Signer{signer}})
	if err != nil {
		t.Fatalf("the guest was up after %s: %v", boot, err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefusedAndOtherHostKey(t *testing.T) {
	mine, _ := key(t)
	other, _ := key(t)
	s := newServer(t, mine)
	_, err := Dial(t.Context(), Config{Addr: s.Addr, User: "root", Signers: []ssh.Signer{mine}, HostKey: other.PublicKey()})
	if !errors.Is(err, ErrHostKey) || fault.KindOf(err) != fault.Guest {
		t.Errorf("wrong host key: %v", err)
	}
	c, err := Dial(t.Context(), Config{Addr: s.Addr, User: "root", Signers: []ssh.Signer{mine}, HostKey: s.HostKey})
	if err != nil {
		t.Fatal(err)
	}
	if string(c.HostKey().Marshal()) != string(s.HostKey.Marshal()) {
		t.Error("another host key was recorded")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Run(t.Context(), guest.Command{Argv: []string{"true"}}); err == nil {
		t.Error("a command ran on a closed connection")
	}
}

// A service that a command leaves behind holds its output open.
func TestDaemonDoesNotHoldTheCommand(t *testing.T) {
	t.Parallel()
	signer, line := key(t)
	c := dial(t, testkit.OpenSSH(t, line), "root", signer)
	var out bytes.Buffer
	if err := c.Run(t.Context(), guest.Command{Argv: []string{"sh", "-c", "sleep 60 & echo $!"}, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context(), guest.Command{Argv: []string{"kill", strings.TrimSpace(out.String())}}); err != nil {
		t.Errorf("the service is gone: %v", err)
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	signer, _ := key(t)
	c := dial(t, newServer(t, signer).Addr, "root", signer)
	r, w := io.Pipe()
	broken := errors.New("broken")
	_ = r.CloseWithError(broken)
	if err := c.Run(t.Context(), guest.Command{Argv: []string{"seq", "100000"}, Stdout: w}); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// A server with several keys proves the one that it is asked for: our library
// would take an ECDSA one first.
func TestHostKeyAmongOthers(t *testing.T) {
	mine, _ := key(t)
	host, _ := key(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	another, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: mine.PublicKey(), HostKey: host, HostKeys: []ssh.Signer{another}})
	c, err := Dial(t.Context(), Config{Addr: s.Addr, User: "root", Signers: []ssh.Signer{mine}, HostKey: host.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
