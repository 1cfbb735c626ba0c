package ec2host

import (
	"io"
	"net"
	"strings"
	"testing"
)

// TestDoor: what is said outside is heard inside, and the other way, until the
// door closes.
func TestDoor(t *testing.T) {
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	go func() {
		for {
			conn, err := inside.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	d, err := open(t.Context(), "127.0.1.1:0", inside.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address := d.listener.Addr().String()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if back, err := io.ReadAll(conn); err != nil || string(back) != "hello" {
		t.Errorf("%q, %v", back, err)
	}
	held, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	d.close()
	if _, err := held.Read(make([]byte, 1)); err == nil {
		t.Error("a connection has outlived the door")
	}
	if again, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
		_ = again.Close()
		t.Error("the door is open still")
	}
}

func TestTail(t *testing.T) {
	var kept tail
	for range 3 {
		_, _ = io.WriteString(&kept, strings.Repeat("a", maxConsole/2))
	}
	_, _ = io.WriteString(&kept, "end")
	if text := kept.String(); len(text) != maxConsole || !strings.HasSuffix(text, "aend") {
		t.Errorf("%d bytes, the end %q", len(text), text[max(0, len(text)-9):])
	}
}
