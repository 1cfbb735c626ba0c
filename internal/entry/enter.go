package entry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/ssh"
)

// Door is where the guest is waited for.
type Door struct {
	Addr    string          // of its ssh server, as we reach it: host:port
	UUID    string          // that the machine was given; empty where HostKey tells who it is
	HostKey gossh.PublicKey // that the machine was given; nil where UUID tells who it is
	Timeout time.Duration   // until a command has run in it
	Up      <-chan struct{} // closed when it may answer; nil if it may at once
}

// Seen is what the guest told when it was entered.
type Seen struct {
	Kernel  string
	Seconds float64 // from the call to the first command's end
}

// Enter waits for the guest's ssh server and makes sure of whom it talks to.
// ctx ends with the machine. The server that runs keeps what it has read of
// our configuration, so the caller may run CleanUp at once.
func (w Way) Enter(ctx context.Context, door Door) (*ssh.Client, Seen, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, door.Timeout,
		fmt.Errorf("the guest could not be entered within %s; %s", door.Timeout, w.Remedy))
	defer cancel()
	if door.Up != nil {
		select {
		case <-door.Up:
		case <-ctx.Done(): // as Dial says, too
		}
	}
	client, err := ssh.Dial(ctx, ssh.Config{Addr: door.Addr, User: w.User, Signers: w.Keys, HostKey: door.HostKey})
	if err != nil {
		if errors.Is(err, ssh.ErrAuth) || errors.Is(err, ssh.ErrHostKey) {
			err = fmt.Errorf("%w; %s", err, w.Remedy)
		}
		return nil, Seen{}, fault.Wrap(fault.Guest, err)
	}
	seen, err := w.identify(ctx, client, door.UUID)
	if err != nil {
		return nil, Seen{}, errors.Join(err, client.Close())
	}
	seen.Seconds = time.Since(started).Seconds()
	return client, seen, nil
}

// identify compares the guest's idea of its machine with ours, unless its host
// key has told already.
func (w Way) identify(ctx context.Context, client *ssh.Client, want string) (seen Seen, err error) {
	script := "uname -r"
	if want != "" {
		script = "cat /sys/class/dmi/id/product_uuid && " + script
	}
	said, err := client.Output(ctx, "sh", "-c", script)
	if err != nil {
		return seen, fmt.Errorf("first command in the guest: %w; %s", err, w.Remedy)
	}
	if want != "" {
		var uuid string
		uuid, said, _ = strings.Cut(said, "\n")
		if !strings.EqualFold(uuid, want) {
			return seen, fault.Errorf(fault.Guest, "this is not the machine that was started: its UUID is %q, not %s", uuid, want)
		}
	}
	seen.Kernel = said
	return seen, nil
}
