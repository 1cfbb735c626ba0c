package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/target"
)

// instance is one that runs and that we are in.
type instance struct {
	l       *launch
	id      string
	kind    string // its type
	addr    string // host and port of its ssh server
	user    string
	host    gossh.PublicKey // that it was given
	client  *ssh.Client
	seen    entry.Seen
	seconds float64 // until it was entered
}

var (
	_ guest.Guest    = (*instance)(nil)
	_ guest.Rebooter = (*instance)(nil)
	_ guest.Sheller  = (*instance)(nil)
)

func (i *instance) way() entry.Way {
	way := entry.Given(i.user, []gossh.Signer{i.l.signer})
	way.How = "a key pair made for it, as " + i.user
	way.Remedy = "the AMI has to run cloud-init, which sets the host key and lets " + i.user + " in; for another account set source.ami.user"
	return way
}

// enter waits for the instance's ssh server, as long as the instance runs.
func (i *instance) enter(ctx context.Context) (entry.Seen, error) {
	alive, stop := i.watch(ctx)
	defer stop()
	return i.dial(alive)
}

// startFinished waits for cloud-init, which goes on after it has let us in, and
// would be in the way of steps that install something. That it has failed in a
// part is for the steps and tests to notice.
const startFinished = "command -v cloud-init >/dev/null 2>&1 || exit 0; cloud-init status --wait >/dev/null 2>&1; exit 0"

func (i *instance) finishStart(ctx context.Context, task report.Task) error {
	limited, cancel := context.WithTimeout(ctx, i.l.cloud.Limits.Boot)
	defer cancel()
	_, err := i.client.Output(limited, "sh", "-c", startFinished)
	if limited.Err() != nil && ctx.Err() == nil {
		task.Warn("cloud-init is not done after %s; going on", i.l.cloud.Limits.Boot)
		return nil
	}
	return i.within(ctx, err)
}

func (i *instance) dial(ctx context.Context) (seen entry.Seen, err error) {
	i.client, seen, err = i.way().Enter(ctx, entry.Door{Addr: i.addr, HostKey: i.host, Timeout: i.l.cloud.Limits.Boot})
	return seen, err
}

// leave ends the connection.
func (i *instance) leave() {
	if i.client != nil {
		_ = i.client.Close() // the instance goes anyway
	}
}

func (i *instance) booted() target.Booted {
	return target.Booted{Machine: "EC2 " + i.kind, Access: i.way().How, Kernel: i.seen.Kernel, Seconds: i.seconds}
}

// Run implements guest.Guest.
func (i *instance) Run(ctx context.Context, command guest.Command) error {
	env := i.l.job.Env
	command.Env = append(env[:len(env):len(env)], command.Env...)
	return i.within(ctx, i.client.Run(ctx, command))
}

// Put implements guest.Guest.
func (i *instance) Put(ctx context.Context, file guest.File, content io.Reader) error {
	return i.within(ctx, i.client.Put(ctx, file, content))
}

// Get implements guest.Guest.
func (i *instance) Get(ctx context.Context, path string, to io.Writer) error {
	return i.within(ctx, i.client.Get(ctx, path, to))
}

// Shell implements guest.Sheller.
func (i *instance) Shell(ctx context.Context, console guest.Console) error {
	return i.within(ctx, i.client.Shell(ctx, console))
}

// within adds to a lost connection what became of the instance, which says more.
func (i *instance) within(ctx context.Context, err error) error {
	var exit *guest.ExitError
	if err == nil || errors.As(err, &exit) || ctx.Err() != nil || fault.KindOf(err) != fault.Guest {
		return err
	}
	if now, lookErr := i.look(ctx); lookErr == nil {
		if why := over(now); why != "" {
			return fmt.Errorf("%w (%w)", i.died(why), err)
		}
	}
	return err
}

// Reboot implements guest.Rebooter.
func (i *instance) Reboot(ctx context.Context) error {
	before, err := i.client.BootID(ctx)
	if err != nil {
		return i.within(ctx, err)
	}
	entry.AskReboot(ctx, i.client)
	_ = i.client.Close() // it ends with the old system
	alive, stop := i.watch(ctx)
	defer stop()
	_, err = entry.Again(alive, before, nil, func(ctx context.Context) (*ssh.Client, error) {
		_, err := i.dial(ctx)
		return i.client, err
	})
	return err
}

// explain adds what the console said last, and keeps all of it.
func (i *instance) explain(ctx context.Context, err error) error {
	lines := i.keepConsole(ctx)
	if len(lines) == 0 {
		return err
	}
	const last = 12
	text := "\n  last lines of the console:"
	for _, line := range lines[max(0, len(lines)-last):] {
		text += "\n    " + run.Printable(line)
	}
	return fmt.Errorf("%w%s", err, text)
}

// keepConsole hands on what the console said, as far as EC2 has it.
func (i *instance) keepConsole(ctx context.Context) (lines []string) {
	if ctx.Err() != nil {
		return nil
	}
	text, err := i.l.console(ctx, i.id)
	if err != nil {
		i.l.task.Warn("what the console of %s said is not to be had: %v", i.id, err)
		return nil
	}
	if len(text) == 0 {
		return nil
	}
	if i.l.job.Console != nil {
		i.l.job.Console(i.id, text)
	}
	return strings.Split(strings.TrimRight(string(text), "\r\n"), "\n")
}
