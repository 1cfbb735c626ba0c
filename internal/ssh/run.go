package ssh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

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
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	done := make(chan error, 1)
	go func() { done <- s.run(line, command) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	killCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
	defer cancel()
	c.kill(killCtx, token)
	select {
	case <-done:
	case <-killCtx.Done():
	}
	return fmt.Errorf("%s: %w", run.Quote(command.Argv), context.Cause(ctx))
}

func (c *Client) kill(ctx context.Context, token string) {
	s, err := c.open(ctx)
	if err != nil {
		return
	}
	defer s.close()
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	_ = s.run(c.asRoot([]string{"sh", "-c", killScript, "sh", tokenName + "=" + token}), guest.Command{})
}
