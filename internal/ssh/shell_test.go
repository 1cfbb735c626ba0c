package ssh

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/tty"
)

func terminal(t *testing.T) (guest.Console, *testkit.Terminal, *os.File) {
	t.Helper()
	master, slave, err := tty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := tty.SetSize(master, 100, 30); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(slave.Close(), master.Close()) })
	return guest.Console{Stdin: slave, Stdout: slave, Term: "xterm"}, testkit.NewTerminal(t, master), master
}

func TestShell(t *testing.T) {
	t.Parallel()
	signer, line := key(t)
	c := dial(t, testkit.OpenSSH(t, line), "root", signer)
	console, user, master := terminal(t)
	resized := make(chan os.Signal, 1)
	console.Resized = resized
	done := make(chan error, 1)
	go func() { done <- c.Shell(t.Context(), console) }()
	user.Type("echo size $(stty size) term $TERM\r")
	user.Await("size 30 100 term xterm")
	if err := tty.SetSize(master, 120, 40); err != nil {
		t.Fatal(err)
	}
	resized <- syscall.SIGWINCH
	user.Type("until stty size | grep -q '40 120'; do :; done; echo now $(stty size)\r")
	user.Await("now 40 120")
	user.Type(`sh -c 'trap "echo still \$((6*7)); exit" INT; echo go $((1+1)); while :; do :; done'` + "\r")
	user.Await("go 2")
	user.Type("\x03") // Ctrl-C ends what runs there, not us
	user.Await("still 42")
	user.Type("exit 3\r")
	if err := <-done; err != nil {
		t.Errorf("the user's last status is an error: %v", err)
	}
}

func TestShellOfOneWhoUsesSudo(t *testing.T) {
	signer, _ := key(t)
	s := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: signer.PublicKey(), Command: func(_ string, c ssh.Channel) error {
		_, _ = io.WriteString(c, "ready ")
		text, err := bufio.NewReader(c).ReadString('\r')
		_, _ = io.WriteString(c, "heard "+text)
		return err
	}})
	c := dial(t, s.Addr, "vagrant", signer)
	console, user, _ := terminal(t)
	done := make(chan error, 1)
	go func() { done <- c.Shell(t.Context(), console) }()
	user.Await("ready")
	user.Type("hello\r")
	if err := <-done; err != nil {
		t.Error(err)
	}
	user.Await("heard hello")
	if lines := s.Lines(); !slices.Equal(lines, []string{"exec sudo -n -i"}) {
		t.Errorf("ran %q", lines)
	}
	if seen := s.Requests(); len(seen) != 2 || !strings.HasPrefix(seen[0], "pty-req \x00\x00\x00\x05xterm\x00\x00\x00\x64\x00\x00\x00\x1e") {
		t.Errorf("asked %q", seen)
	}
}

func TestShellFails(t *testing.T) {
	t.Parallel()
	signer, _ := key(t)
	c := dial(t, newServer(t, signer).Addr, "root", signer)
	console, _, _ := terminal(t)
	if err := c.Shell(t.Context(), console); err == nil || !strings.Contains(err.Error(), "refuses the request shell") {
		t.Errorf("refused: %v", err)
	}
	if err := c.Shell(t.Context(), guest.Console{}); !errors.Is(err, guest.ErrNoTerminal) {
		t.Errorf("no terminal: %v", err)
	}
	s := testkit.NewSSHServer(t, testkit.SSHOptions{Authorized: signer.PublicKey(), Shell: func(c ssh.Channel) {
		_, _ = io.WriteString(c, "ready")
		_, _ = io.Copy(io.Discard, c)
	}})
	for name, end := range map[string]func(context.CancelFunc){
		"cancelled": func(cancel context.CancelFunc) { cancel() },
		"lost":      func(context.CancelFunc) { s.Drop() },
	} {
		c := dial(t, s.Addr, "root", signer)
		console, user, _ := terminal(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Shell(ctx, console) }()
		user.Await("ready")
		end(cancel)
		if err := <-done; err == nil || name == "cancelled" && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}
