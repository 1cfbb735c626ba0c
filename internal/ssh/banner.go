package ssh

import (
	"context"
	"net"
	"time"
)

// Limits of hedged connecting: a new connection every interval, while older
// ones are still waiting, up to their number. They are few because each that
// reaches the server at last is a process there, and takes the time of the one
// that wins.
const (
	hedgeInterval = time.Second
	retryInterval = 200 * time.Millisecond // after one that was refused
	maxHedges     = 2
	minPatience   = 2 * time.Second
)

// patience is how long a connection is waited for that was begun so long after
// the first: an eighth of that time, because a guest that took long to come up
// is slow to speak, too.
func patience(since, limit time.Duration) time.Duration {
	return min(limit, max(minPatience, since/8))
}

// connect returns a connection on which the server has begun to speak. QEMU's
// network accepts before the guest is up, and asks the guest again less and less
// often: a connection that was begun early hangs, or answers late. So several are tried side by side, each for its patience of at most limit, and
// the first to speak wins.
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
	started := time.Now()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			next.Reset(hedgeInterval)
			if pending == maxHedges {
				continue
			}
			pending++
			go func() {
				conn, err := firstByte(ctx, addr, patience(time.Since(started), limit))
				outcomes <- outcome{conn, err}
			}()
		case o := <-outcomes:
			pending--
			if o.err == nil {
				return o.conn, nil
			}
			onError(o.err)
			next.Reset(retryInterval)
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
