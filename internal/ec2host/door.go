package ec2host

import (
	"context"
	"io"
	"net"
	"sync"
)

// door joins connections to a guest's address to the port that QEMU forwards.
type door struct {
	listener net.Listener
	group    sync.WaitGroup
	end      context.CancelFunc
}

func open(ctx context.Context, address, inside string) (*door, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &door{listener: listener, end: cancel}
	d.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // it is closed
			}
			d.group.Go(func() { join(ctx, conn, inside) })
		}
	})
	return d, nil
}

// join copies in both directions until both have ended.
func join(ctx context.Context, outer net.Conn, inside string) {
	defer outer.Close() //nolint:errcheck // the connection is over
	inner, err := (&net.Dialer{}).DialContext(ctx, "tcp", inside)
	if err != nil {
		return
	}
	defer inner.Close() //nolint:errcheck // as above
	defer context.AfterFunc(ctx, func() {
		_ = outer.Close()
		_ = inner.Close()
	})()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{inner, outer}, {outer, inner}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // whichever side broke, the other is told
			_ = pair[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

// close ends every connection.
func (d *door) close() {
	_ = d.listener.Close()
	d.end()
	d.group.Wait()
}

// tail keeps the end of what is written: as much as GetConsoleOutput shows.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const maxConsole = 64 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxConsole; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
