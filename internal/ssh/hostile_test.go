package ssh

import (
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// commands is a client of a server that answers each command like this.
func commands(t *testing.T, answer func(line string, c ssh.Channel) error) (*Client, *testkit.SSHServer) {
	t.Helper()
	signer, _ := key(t)
	s := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: signer.PublicKey(), Command: answer})
	return dial(t, s.Addr, "root", signer), s
}

func flood(c io.Writer, bytes int) {
	block := []byte(strings.Repeat("\x1b[31ma line of a log that does not end\r\n", 1000))
	for bytes > 0 {
		n, err := c.Write(block)
		if err != nil {
			return
		}
		bytes -= n
	}
}

func TestHugeLogIsBounded(t *testing.T) {
	const total = 24 << 20
	c, _ := commands(t, func(_ string, c ssh.Channel) error {
		flood(c.Stderr(), total)
		flood(c, total)
		return errors.New("fails in the end")
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	out, err := c.Output(t.Context(), "anything")
	runtime.GC()
	runtime.ReadMemStats(&after)
	if len(out) > maxOutput {
		t.Errorf("kept %d bytes", len(out))
	}
	if err == nil || len(err.Error()) > run.TailBytes+200 || strings.Contains(err.Error(), "\x1b") || !strings.HasSuffix(err.Error(), "a line of a log that does not end") {
		t.Errorf("error %q", err)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > total/2 {
		t.Errorf("the heap grew by %d bytes for %d bytes of output", grown, 2*total)
	}
}

// What a step prints comes through LineWriter, whatever it is.
func TestOutputIsPrintable(t *testing.T) {
	c, _ := commands(t, func(_ string, c ssh.Channel) error {
		for _, each := range []string{"\x1b]0;owned", "\a\x1b[2J\x1b[31mred", "\x1b[0m\r\n", "\x1b]52;c;cm0=\x1b\\", strings.Repeat("x", 3*run.MaxLine), "\n\x9b31m\xff\n"} {
			_, _ = io.WriteString(c, each)
		}
		return nil
	})
	var lines []string
	w := run.LineWriter(func(line string) { lines = append(lines, line) })
	if err := c.Run(t.Context(), guest.Command{Argv: []string{"anything"}, Stdout: w, Stderr: w}); err != nil {
		t.Fatal(err)
	}
	if len(lines) < 5 || lines[0] != "red" {
		t.Fatalf("%d lines, %.100q", len(lines), lines)
	}
	for _, line := range lines {
		if len(line) > run.MaxLine || line != run.Printable(line) {
			t.Errorf("%d bytes: %.100q", len(line), line)
		}
	}
}

func TestServerEndsInMidCommand(t *testing.T) {
	var server *testkit.SSHServer
	for name, answer := range map[string]func(string, ssh.Channel) error{
		"the channel":    func(string, ssh.Channel) error { return testkit.ErrSilent },
		"the connection": func(string, ssh.Channel) error { server.Drop(); return nil },
	} {
		c, s := commands(t, answer)
		server = s
		err := c.Run(t.Context(), guest.Command{Argv: []string{"anything"}})
		if err == nil || !strings.Contains(err.Error(), "lost during the command") || fault.KindOf(err) != fault.Guest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFloods(t *testing.T) {
	t.Parallel()
	signer, _ := key(t)
	requests := func(c ssh.Channel) {
		for range 3_000 {
			if _, err := c.SendRequest("keepalive@openssh.com", false, make([]byte, 1000)); err != nil {
				return
			}
		}
	}
	connected := map[string]func(*ssh.ServerConn){
		"channels": func(conn *ssh.ServerConn) {
			for {
				_, _, err := conn.OpenChannel("forwarded-tcpip", make([]byte, 1000))
				var refused *ssh.OpenChannelError
				if !errors.As(err, &refused) {
					return
				}
			}
		},
		"global requests": func(conn *ssh.ServerConn) {
			for {
				if _, _, err := conn.SendRequest("hostkeys-00@openssh.com", false, make([]byte, 1000)); err != nil {
					return
				}
			}
		},
	}
	for _, name := range []string{"channels", "global requests", "requests in the session"} {
		s := testkit.NewSSHServer(t, testkit.SSHOptions{
			Authorized: signer.PublicKey(), Connected: connected[name],
			Command: func(_ string, c ssh.Channel) error {
				if connected[name] == nil {
					requests(c)
				}
				_, err := io.WriteString(c, "done")
				return err
			},
		})
		c := dial(t, s.Addr, "root", signer)
		if out, err := c.Output(t.Context(), "anything"); err != nil || out != "done" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
		_ = c.Close()
	}
}

// A machine that stops leaves its connections open.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	signer, _ := key(t)
	s := newServer(t, signer)
	frozen := make(chan struct{})
	listener := testkit.Listen(t)
	go testkit.Accept(listener, func(conn net.Conn) {
		far, err := net.Dial("tcp", s.Addr)
		if err != nil {
			return
		}
		forward := func(to io.Writer, from io.Reader) {
			for block := make([]byte, 1000); ; {
				n, err := from.Read(block)
				select {
				case <-frozen: // goes on listening
				default:
					_, _ = to.Write(block[:n])
				}
				if err != nil {
					return
				}
			}
		}
		go forward(conn, far)
		forward(far, conn)
	})
	c, err := Dial(t.Context(), Config{Addr: listener.Addr().String(), User: "root", Signers: []ssh.Signer{signer}, KeepAlive: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Output(t.Context(), "true"); err != nil {
		t.Fatal(err)
	}
	close(frozen)
	if _, err := c.Output(t.Context(), "true"); err == nil || fault.KindOf(err) != fault.Guest {
		t.Errorf("error %v", err)
	}
}

func TestForeignWordsAreBounded(t *testing.T) {
	err := foreign(&ssh.OpenChannelError{Reason: ssh.Prohibited, Message: "\x1b[2J" + strings.Repeat("x", 100_000)})
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) || len(err.Error()) > maxForeignText+50 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%d bytes: %.100q", len(err.Error()), err)
	}
	if foreign(nil) != nil {
		t.Error("an error of nothing")
	}
}

func TestBootID(t *testing.T) {
	signer, _ := key(t)
	c := dial(t, newServer(t, signer).Addr, "root", signer)
	id, err := c.BootID(t.Context())
	again, _ := c.BootID(t.Context())
	if err != nil || len(id) != 36 || again != id {
		t.Errorf("%q, then %q, %v", id, again, err)
	}
	for _, answer := range []string{"", "../../etc/passwd", strings.Repeat("0", 100_000), "\x1b[31m"} {
		hostile, _ := commands(t, func(_ string, c ssh.Channel) error { _, err := io.WriteString(c, answer); return err })
		if id, err := hostile.BootID(t.Context()); err == nil || id != "" || len(err.Error()) > 500 || strings.ContainsRune(err.Error(), 0x1b) {
			t.Errorf("%.20q: %q, %v", answer, id, err)
		}
	}
}

func TestFileModes(t *testing.T) {
	var got []string
	for _, bits := range []uint32{0o644, 0o4755, 0o2755, 0o1777, 0o177644} {
		got = append(got, fileMode(bits).String())
	}
	if want := []string{"-rw-r--r--", "urwxr-xr-x", "grwxr-xr-x", "trwxrwxrwx", "ugtrw-r--r--"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
