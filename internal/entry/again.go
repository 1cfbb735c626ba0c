package entry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/org/imagebuild-action/internal/ssh"
)

// askGrace bounds a command whose answer may never come, because it ends the
// machine that should answer.
const askGrace = 10 * time.Second

// Commands that end a guest as its administrator would.
const (
	rebootCommand   = "systemctl reboot --no-block || reboot"
	poweroffCommand = "systemctl poweroff --no-block || poweroff"
)

// AskReboot asks the guest to restart, and AskPoweroff to switch itself off.
// Whether it will is not known from the answer, which may never come.
func AskReboot(ctx context.Context, client *ssh.Client) { ask(ctx, client, rebootCommand) }

// AskPoweroff asks the guest to switch itself off; see AskReboot.
func AskPoweroff(ctx context.Context, client *ssh.Client) { ask(ctx, client, poweroffCommand) }

var errEnded = errors.New("the machine ended")

func ask(ctx context.Context, client *ssh.Client, command string) {
	ctx, cancel := context.WithTimeout(ctx, askGrace)
	defer cancel()
	_, _ = client.Output(ctx, "sh", "-c", command)
}

// Again enters a guest that was asked to restart, when it runs under another
// boot id than before. Until it goes down, the old system lets us in, or throws
// us out. ended, which may be nil, ends the wait when the machine does.
func Again(ctx context.Context, before string, ended <-chan struct{}, enter func(context.Context) (*ssh.Client, error)) (*ssh.Client, error) {
	for {
		client, last := enter(ctx)
		if last == nil {
			var id string
			if id, last = client.BootID(ctx); last == nil && id != before {
				return client, nil
			}
			_ = client.Close()
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-ended:
			timer.Stop()
			return nil, fmt.Errorf("restart the guest: %w", errors.Join(errEnded, last))
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("restart the guest: %w", errors.Join(context.Cause(ctx), last))
		}
	}
}
