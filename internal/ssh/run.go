package ssh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/run"
)

// remotePath is what commands are looked up in: an ssh server's own default
// leaves out sbin for some users.
const remotePath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// killScript ends every process that carries the token in its environment,
// again until none is left, as they may be starting others. An ssh server's
// own signals reach one process group, and none that sudo started.
const (
	tokenName  = "IMAGEBUILD_COMMAND"
	killScript = `i=0
while [ $i -lt 10 ]; do
	found=
	for e in $(grep -lsF "$1" /proc/[0-9]*/environ); do
		p=${e#/proc/}; kill -KILL "${p%/environ}" 2>/dev/null && found=1
	done
	[ "$found" ] || exit 0
	i=$((i+1))
done`
)

// killGrace is how long a cancelled command may take to die before the call
// returns without it.
const killGrace = 5 * time.Second

// Run implements guest.Guest.
func (c *Client) Run(ctx context.Context, command guest.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(command.Argv) == 0 {
		return errors.New("ssh: no command")
	}
	token := rand.Text()
	err := c.session(ctx, c.commandLine(command, token), token, command)
	var exit *guest.ExitError
	if errors.As(err, &exit) {
		exit.Argv = command.Argv
	}
	return err
}

// commandLine renders a command for the remote user's login shell. sshd takes
// no environment from us by default, so env(1) carries it. The token in it
// marks the command and its descendants, for kill.
func (c *Client) commandLine(command guest.Command, token string) string {
	dir := command.Dir
	if dir == "" {
		dir = "/"
	}
	argv := []string{"sh", "-c", `cd -- "$1" && shift && exec env "$@"`, "sh", dir, remotePath, "LC_ALL=C.UTF-8", tokenName + "=" + token}
	argv = append(argv, command.Env...)
	argv = append(argv, command.Argv...)
	return c.asRoot(argv)
}

func (c *Client) asRoot(argv []string) string {
	if c.config.User != "root" {
		argv = append([]string{"sudo", "-n", "--"}, argv...)
	}
	// The login shell makes room, so that a signal's victim is seen as such.
	return "exec " + run.Quote(argv)
}

// session runs line with the command's streams.
func (c *Client) session(ctx context.Context, line, token string, command guest.Command) error {
	session, err := c.newSession(ctx)
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // it is closed by the other side in the good case
	session.Stdout, session.Stderr = orDiscard(command.Stdout), orDiscard(command.Stderr)
	if command.Stdout != nil && command.Stdout == command.Stderr {
		shared := &lockedWriter{w: command.Stdout}
		session.Stdout, session.Stderr = shared, shared
	}
	stdin, err := session.StdinPipe()
	if err != nil {
		return lost(err)
	}
	if err := session.Start(line); err != nil {
		return lost(err)
	}
	go func() {
		if command.Stdin != nil {
			_, _ = io.Copy(stdin, command.Stdin)
		}
		_ = stdin.Close()
	}()
	done := make(chan error, 1)
	go func() { done <- session.Wait() }()
	select {
	case err := <-done:
		return mapExit(err)
	case <-ctx.Done():
	}
	killCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
	defer cancel()
	c.kill(killCtx, token)
	select {
	case <-done:
	case <-killCtx.Done():
		_ = session.Close()
	}
	return fmt.Errorf("%s: %w", run.Quote(command.Argv), context.Cause(ctx))
}

func (c *Client) kill(ctx context.Context, token string) {
	session, err := c.newSession(ctx)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	defer session.Close() //nolint:errcheck // closed by the other side in the good case
	_ = session.Run(c.asRoot([]string{"sh", "-c", killScript, "sh", tokenName + "=" + token}))
}

// newSession opens a session; a server that does not answer must not hold us.
func (c *Client) newSession(ctx context.Context) (*ssh.Session, error) {
	type opened struct {
		session *ssh.Session
		err     error
	}
	result := make(chan opened, 1)
	go func() {
		session, err := c.conn.NewSession()
		result <- opened{session, err}
	}()
	select {
	case o := <-result:
		if o.err != nil {
			return nil, lost(o.err)
		}
		return o.session, nil
	case <-ctx.Done():
		go func() {
			if o := <-result; o.session != nil {
				_ = o.session.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func mapExit(err error) error {
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Signal() != "":
		return &guest.ExitError{Status: -1, Signal: signalName(exit.Signal())}
	case errors.As(err, &exit):
		return &guest.ExitError{Status: exit.ExitStatus()}
	case errors.As(err, &missing):
		return fault.Errorf(fault.Guest, "the connection to the guest was lost during the command: %w", err)
	}
	return lost(err)
}

func signalName(name string) string {
	switch name {
	case "KILL":
		return "killed"
	case "TERM":
		return "terminated"
	}
	return strings.ToLower(name)
}

func lost(err error) error {
	return fault.Wrap(fault.Guest, fmt.Errorf("ssh session: %w", err))
}

// lockedWriter lets two streams share a writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
