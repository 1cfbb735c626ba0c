package chroot_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/org/imagebuild-action/internal/chroot"
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
	t.Cleanup(func() { _ = errors.Join(slave.Close(), master.Close()) })
	return guest.Console{Stdin: slave, Stdout: slave, Term: "xterm"}, testkit.NewTerminal(t, master), master
}

func TestShell(t *testing.T) {
	bothModes(t, func(t *testing.T, _ string, c *chroot.Chroot) {
		console, user, master := terminal(t)
		resized := make(chan os.Signal, 1)
		console.Resized = resized
		done := make(chan error, 1)
		go func() { done <- c.Shell(t.Context(), console) }()
		user.Type("echo term $TERM size $(stty size)\r")
		user.Await("term xterm size 24 80")
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
	})
}

func TestShellIsCancelled(t *testing.T) {
	bothModes(t, func(t *testing.T, root string, c *chroot.Chroot) {
		console, user, _ := terminal(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Shell(ctx, console) }()
		user.Type("sleep 1000 & echo ready $((1+1))\r")
		user.Await("ready 2")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if left := inside(root); len(left) != 0 {
			t.Errorf("left running: %q", left)
		}
	})
}

func TestShellNeedsATerminal(t *testing.T) {
	c := open(t, busyboxTree(t), false)
	if err := c.Shell(t.Context(), guest.Console{}); !errors.Is(err, guest.ErrNoTerminal) {
		t.Errorf("error %v", err)
	}
}
