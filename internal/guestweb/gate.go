package guestweb

import (
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// gate is a listener that lets in only this user's processes, and only so many
// at a time: what is too much is closed at once, so that relays do not pile up.
type gate struct {
	*net.UnixListener
	slots chan struct{}
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if !ours(conn) {
			_ = conn.Close()
			continue
		}
		select {
		case g.slots <- struct{}{}:
			return &guarded{Conn: conn, release: sync.OnceFunc(func() { <-g.slots })}, nil
		default:
			_ = conn.Close()
		}
	}
}

// ours tells whether the other side is a process of this user (unix(7),
// SO_PEERCRED).
func ours(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	same := false
	err = raw.Control(func(fd uintptr) {
		peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		same = err == nil && int(peer.Uid) == os.Geteuid()
	})
	return err == nil && same
}

// guarded is a connection that gives its slot back.
type guarded struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (g *guarded) Close() error {
	defer g.release()
	return g.Conn.Close()
}
