package guestweb

import (
	"context"
	"fmt"
	"io"
	"net"
)

// relayArgument is the first argument of the relay. It is no command for
// people.
const relayArgument = "guest-web-relay"

// Invoked tells whether argv is the relay's command line. The program has to
// ask before it looks at its arguments itself.
func Invoked(argv []string) bool { return len(argv) == 3 && argv[1] == relayArgument }

// Relay joins a connection of the guest's, which is in and out, to the server.
// It ends when the server closes, which is also when the server's process dies.
func Relay(ctx context.Context, argv []string, in io.Reader, out io.Writer) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", argv[2])
	if err != nil {
		return fmt.Errorf("reach the server of the guest's files: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written that could be lost
	go func() {
		_, _ = io.Copy(conn, in)
		if half, ok := conn.(*net.UnixConn); ok {
			_ = half.CloseWrite() // the guest has closed its side, or the machine is gone
		}
	}()
	_, _ = io.Copy(out, conn) // whatever broke it, the connection is over and nobody is there to be told
	return nil
}
