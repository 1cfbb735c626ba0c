package ssh

import (
	"context"
	"net"
	"time"
)

// Limits of hedged connecting: a new connection every interval, while older
// ones are still waiting, up to their number. OpenSSH drops connections from
// its eleventh unauthenticated one on (MaxStartups).
const (
	hedgeInterval = 500 * time.Millisecond
	maxHedges     = 4
)

// connect returns a connection on which the server has begun to speak. QEMU's
// network accepts before the guest is up, and such a connection may hang for
// good or answer late: so several are tried side by side, each for at most
// limit, and the first to speak wins.
func connect(ctx context.Context, addr string, limit time.Duration, onError func(error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		conn net.Conn
		err  error
	}
	outcomes := make(chan outcome, maxHedges)
	pending := 0
	defer func() {
		// Whoever is late is closed, not leaked.
		go func(n int) {
			for range n {
				if o := <-outcomes; o.conn != nil {
					_ = o.conn.Close()
				}
			}
		}(pending)
	}()
	ticker := time.NewTicker(hedgeInterval)
	defer ticker.Stop()
	for {
		if pending < maxHedges {
			pending++
			go func() {
				conn, err := firstByte(ctx, addr, limit)
				outcomes <- outcome{conn, err}
			}()
		}
	wait:
		select {
		case o := <-outcomes:
			pending--
			if o.err == nil {
				return o.conn, nil
			}
			if onError(o.err); ctx.Err() == nil {
				goto wait
			}
		case <-ticker.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// firstByte dials and waits for the first byte.
func firstByte(ctx context.Context, addr string, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	peeked := &peekedConn{Conn: conn}
	if _, err := conn.Read(peeked.first[:]); err != nil {
		stop()
		_ = conn.Close()
		return nil, err
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return peeked, nil
}

// peekedConn gives the first byte back.
type peekedConn struct {
	net.Conn
	first [1]byte
	given bool
}

func (c *peekedConn) Read(p []byte) (int, error) {
	if c.given || len(p) == 0 {
		return c.Conn.Read(p)
	}
	c.given = true
	p[0] = c.first[0]
	return 1, nil
}
