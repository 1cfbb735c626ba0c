package guestweb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if Invoked(os.Args) {
		if err := Relay(context.Background(), os.Args, os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// guest opens a connection as the emulator does: it starts the command.
func guest(t *testing.T, s *Server) (io.WriteCloser, io.Reader, *exec.Cmd) {
	t.Helper()
	argv := s.Command()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return in, out, cmd
}

// ask sends a request and returns the answer.
func ask(t *testing.T, s *Server, request string) (status int, body string) {
	t.Helper()
	in, out, cmd := guest(t, s)
	_, _ = io.WriteString(in, request)
	reader := bufio.NewReader(out)
	response, err := http.ReadResponse(reader, &http.Request{Method: strings.Fields(request)[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the relay: %v", err)
	}
	return response.StatusCode, string(content)
}

func TestServesExactlyTheFiles(t *testing.T) {
	var mu sync.Mutex
	var reads []string
	s, err := Start(map[string][]byte{"preseed.cfg": []byte("d-i x"), "a/b": []byte(strings.Repeat("x", 1<<20)), "meta-data": nil}, func(r Read) {
		mu.Lock()
		defer mu.Unlock()
		reads = append(reads, fmt.Sprintf("%s %s %d", r.Method, r.Path, r.Status))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		line   string
		status int
		body   string
	}{
		{"GET /preseed.cfg", 200, "d-i x"},
		{"GET /a/b", 200, strings.Repeat("x", 1<<20)},
		{"GET /meta-data", 200, ""},
		{"HEAD /preseed.cfg", 200, ""},
		{"GET /", 404, "Not Found\n"},
		{"GET /a", 404, "Not Found\n"},
		{"GET /../preseed.cfg", 404, "Not Found\n"},
		{"GET /etc/passwd", 404, "Not Found\n"},
		{"PUT /preseed.cfg", 405, "Method Not Allowed\n"},
		{"OPTIONS *", 405, "Method Not Allowed\n"},
		{"GET /" + strings.Repeat("x", 5000), 404, "Not Found\n"},
	} {
		status, body := ask(t, s, test.line+" HTTP/1.0\r\n\r\n")
		if status != test.status || body != test.body {
			t.Errorf("%.40s: %d, %d bytes %.40q", test.line, status, len(body), body)
		}
	}
	if status, _ := ask(t, s, "GET /preseed.cfg HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nxxxxxxxxx"); status != 413 {
		t.Errorf("a body: %d", status)
	}
	if status, _ := ask(t, s, "GET / HTTP/1.0\r\nX: "+strings.Repeat("x", 1<<16)+"\r\n\r\n"); status != 431 {
		t.Errorf("a long header: %d", status)
	}
	mu.Lock()
	if len(reads) != 12 || !slices.Contains(reads, "GET /preseed.cfg 200") || !slices.ContainsFunc(reads, func(r string) bool { return len(r) == len("GET  404")+maxPath }) {
		t.Errorf("told: %.300q", reads)
	}
	mu.Unlock()
	dir := filepath.Dir(s.socket)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

// TestKeepAlive: an installer may ask twice on one connection.
func TestKeepAlive(t *testing.T) {
	s, err := Start(map[string][]byte{"a": []byte("1"), "b": []byte("2")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, out, _ := guest(t, s)
	defer in.Close()
	reader := bufio.NewReader(out)
	for name, want := range map[string]string{"a": "1", "b": "2"} {
		_, _ = io.WriteString(in, "GET /"+name+" HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(content) != want {
			t.Errorf("%q, %v", content, err)
		}
	}
}

// TestBounded: a guest that opens connections without end gets a few.
func TestBounded(t *testing.T) {
	told := 0
	s, err := Start(map[string][]byte{"a": nil}, func(Read) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	closed := 0
	for range 2 * maxConnections {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			closed++
		}
	}
	if closed != maxConnections {
		t.Errorf("%d of %d connections were refused", closed, 2*maxConnections)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	for late := time.Now().Add(10 * time.Second); ; { // the server has to see that they are gone
		if status, _ := tryAsk(s); status == 200 {
			break
		}
		if time.Now().After(late) {
			t.Fatal("no connection is free again")
		}
	}
	for range maxTold + 50 {
		_, _ = tryAsk(s)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if told != maxTold {
		t.Errorf("told %d times", told)
	}
}

func tryAsk(s *Server) (int, error) {
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /a HTTP/1.0\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// TestRelayEnds with either side.
func TestRelayEnds(t *testing.T) {
	s, err := Start(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	in, _, first := guest(t, s)
	_ = in.Close()
	if err := first.Wait(); err != nil {
		t.Errorf("after the guest: %v", err)
	}
	in, out, second := guest(t, s)
	defer in.Close()
	_, _ = io.WriteString(in, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = io.ReadFull(out, make([]byte, 8)) // it is connected
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("after the server: %v", err)
	}
	argv := s.Command()
	if err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).Run(); err == nil {
		t.Error("a relay without a server did not fail")
	}
}
