package ssh

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/tty"
)

var _ guest.Sheller = (*Client)(nil)

// rootShell is the login shell of root for a user who may become root.
const rootShell = "exec sudo -n -i"

// Shell implements guest.Sheller: root's login shell on a pseudo terminal of
// the guest's (RFC 4254, sections 6.2, 6.5 and 6.7).
func (c *Client) Shell(ctx context.Context, console guest.Console) error {
	if err := tty.Check(console); err != nil {
		return err
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	ended := make(chan error, 1)
	go func() { ended <- s.ending() }()
	columns, rows := tty.Size(console)
	term := console.Term
	if term == "" {
		term = "dumb"
	}
	if err := s.ask(ctx, "pty-req", ptyRequest{Term: term, Columns: uint32(columns), Rows: uint32(rows), Modes: "\x00"}); err != nil {
		return err
	}
	if c.config.User == "root" {
		err = s.ask(ctx, "shell", nil)
	} else {
		err = s.ask(ctx, "exec", struct{ Command string }{rootShell})
	}
	if err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, s.channel.Stderr()) }() // a terminal has one stream
	joined, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	result := make(chan error, 1)
	go func() {
		err := <-ended
		result <- err
		timer := time.NewTimer(outputGrace) // a program in the background may hold the terminal
		defer timer.Stop()
		select {
		case <-timer.C:
			leave(errShellEnded)
		case <-joined.Done():
		}
	}()
	err = tty.Join(joined, console, tty.Far{Input: s.channel, Output: s.channel, Resize: func(columns, rows int) {
		_, _ = s.channel.SendRequest("window-change", false, ssh.Marshal(windowChange{Columns: uint32(columns), Rows: uint32(rows)}))
	}})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, errShellEnded) {
		return err
	}
	select {
	case err = <-result:
	case <-time.After(outputGrace): // the output has ended, and that is what the user sees
		return nil
	}
	var exit *guest.ExitError
	if errors.As(err, &exit) { // that of the user's last command
		return nil
	}
	return err
}

var errShellEnded = errors.New("the shell has ended")

// ptyRequest is RFC 4254, section 6.2. Sizes in pixels are zero: unknown.
type ptyRequest struct {
	Term          string
	Columns, Rows uint32
	Width, Height uint32
	Modes         string
}

// windowChange is RFC 4254, section 6.7.
type windowChange struct {
	Columns, Rows uint32
	Width, Height uint32
}

// ask sends a request that must be granted; a server that does not answer must
// not hold us.
func (s *session) ask(ctx context.Context, name string, message any) error {
	var payload []byte
	if message != nil {
		payload = ssh.Marshal(message)
	}
	result := make(chan error, 1)
	go func() {
		ok, err := s.channel.SendRequest(name, true, payload)
		switch {
		case err != nil:
			err = lost(err)
		case !ok:
			err = fault.Errorf(fault.Guest, "ssh: the guest refuses the request %s", name)
		}
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
