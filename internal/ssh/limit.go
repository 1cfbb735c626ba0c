package ssh

import (
	"errors"
	"net"
	"sync/atomic"
)

// limitedConn ends a connection whose other side sends more than a handshake
// needs: a banner without end, a flood of packets before authentication.
type limitedConn struct {
	net.Conn
	left   int64
	lifted atomic.Bool
}

var errFlood = errors.New("the server sent too much before authentication")

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.lifted.Load() {
		return c.Conn.Read(p)
	}
	if c.left <= 0 {
		return 0, errFlood
	}
	n, err := c.Conn.Read(p)
	c.left -= int64(n)
	return n, err
}

func (c *limitedConn) lift() { c.lifted.Store(true) }
