package container

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/container"
)

const (
	selfID   = "0123456789ab0123456789ab0123456789ab0123456789ab0123456789abcdef"
	selfJSON = `{"Id":"` + selfID + `","Image":"sha256:1111","Path":"/usr/local/bin/imagebuild-action","Args":["x"],"State":{"Running":true},
"Config":{"User":"","WorkingDir":"/github/workspace","Labels":{"a1b2c3":""}},"HostConfig":{"NetworkMode":"github_network","Memory":1073741824},
"Mounts":[{"Destination":"/github/workspace"},{"Destination":"/var/run/docker.sock"}],"GraphDriver":{"Name":"overlay2","Data":{"UpperDir":"/o/up/diff"}}}`
	mountInfo = `1 0 0:1 / / rw - overlay overlay rw,lowerdir=/o/l,upperdir=/o/up/diff,workdir=/o/w
2 1 0:2 /d/containers/` + selfID + `/hostname /etc/hostname rw - ext4 /dev/x rw
3 1 0:2 /ws /github/workspace rw - ext4 /dev/x rw
4 1 0:2 /s /var/run/docker.sock rw - tmpfs t rw
`
)

// fault is what the fake does instead of, or after, an answer.
type faultMode string

const (
	answer500 faultMode = "answers 500"
	cutBefore faultMode = "cuts the connection before"
	cutAfter  faultMode = "cuts the connection after"
)

// fakeDaemon is a Docker daemon with one container, ours, on a Unix socket.
type fakeDaemon struct {
	socket string
	here   here

	mu         sync.Mutex
	calls      []string
	failAt     int // number of the call that fails, from one; zero: none
	mode       faultMode
	security   []string
	engine     string
	refuse     func(container.HostConfig) string // why a start fails
	program    func(*fakeContainer) int          // what a container runs
	containers map[string]*fakeContainer
	created    []container.CreateRequest
}

type fakeContainer struct {
	name    string
	labels  map[string]string
	out     net.Conn
	signals chan string
	gone    chan struct{}
	code    int
	once    sync.Once
}

func (c *fakeContainer) print(stream byte, text string) {
	header := make([]byte, 8)
	header[0] = stream
	binary.BigEndian.PutUint32(header[4:], uint32(len(text))) //nolint:gosec // short
	_, _ = c.out.Write(append(header, text...))
}

func newFake(t *testing.T) *fakeDaemon {
	t.Helper()
	dir := t.TempDir()
	f := &fakeDaemon{
		socket: filepath.Join(dir, "s"), engine: "Engine", containers: map[string]*fakeContainer{},
		here:    here{root: dir, hostname: selfID[:12]},
		program: func(*fakeContainer) int { return 0 },
	}
	if err := os.MkdirAll(filepath.Join(dir, "proc/self"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "proc/self/mountinfo"), []byte(mountInfo), 0o644); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f} //nolint:gosec // a test's
	go server.Serve(listener)          //nolint:errcheck // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return f
}

// left counts what is still there.
func (f *fakeDaemon) left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.containers)
}

func (f *fakeDaemon) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[strings.Index(path[1:], "/")+1:]
	}
	w.Header().Set("Api-Version", "1.41")
	if path == "/_ping" {
		return
	}
	f.mu.Lock()
	f.calls = append(f.calls, r.Method+" "+path)
	mode := faultMode("")
	if len(f.calls) == f.failAt {
		mode = f.mode
	}
	f.mu.Unlock()
	switch mode {
	case answer500:
		reply(w, http.StatusInternalServerError, map[string]string{"message": "injected"})
		return
	case cutBefore:
		panic(http.ErrAbortHandler)
	case cutAfter:
		f.serve(discard{w.Header()}, r, path)
		panic(http.ErrAbortHandler)
	}
	f.serve(w, r, path)
}

// discard swallows an answer.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (f *fakeDaemon) find(name string) *fakeContainer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.containers[name]
}

func (f *fakeDaemon) serve(w http.ResponseWriter, r *http.Request, path string) {
	switch path {
	case "/version":
		reply(w, 200, map[string]any{"Version": "20.10", "ApiVersion": "1.41", "Components": []map[string]string{{"Name": f.engine}}})
		return
	case "/info":
		reply(w, 200, map[string]any{"SecurityOptions": f.security})
		return
	case "/containers/create":
		f.create(w, r)
		return
	case "/containers/json":
		f.mu.Lock()
		list := []map[string]any{}
		for name, c := range f.containers {
			list = append(list, map[string]any{"Id": name, "Labels": c.labels})
		}
		f.mu.Unlock()
		reply(w, 200, list)
		return
	}
	name, verb, _ := strings.Cut(strings.TrimPrefix(path, "/containers/"), "/")
	if strings.HasPrefix(selfID, name) && verb == "json" {
		_, _ = fmt.Fprint(w, selfJSON)
		return
	}
	c := f.find(name)
	if c == nil {
		reply(w, 404, map[string]string{"message": "no such container"})
		return
	}
	f.onContainer(w, r, c, verb)
}

func (f *fakeDaemon) create(w http.ResponseWriter, r *http.Request) {
	var request container.CreateRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		reply(w, 400, map[string]string{"message": err.Error()})
		return
	}
	name := r.URL.Query().Get("name")
	f.mu.Lock()
	f.created = append(f.created, request)
	f.containers[name] = &fakeContainer{name: name, labels: request.Labels, signals: make(chan string, 10), gone: make(chan struct{})}
	f.mu.Unlock()
	reply(w, 201, map[string]any{"Id": name})
}

func (f *fakeDaemon) onContainer(w http.ResponseWriter, r *http.Request, c *fakeContainer, verb string) {
	switch verb {
	case "attach":
		hijacker, ok := w.(http.Hijacker)
		if !ok {
			return
		}
		conn, _, err := hijacker.Hijack()
		if err != nil {
			return
		}
		c.out = conn
		_, _ = fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	case "start":
		f.mu.Lock()
		host, refuse := *f.created[len(f.created)-1].HostConfig, f.refuse
		f.mu.Unlock()
		if refuse != nil {
			if why := refuse(host); why != "" {
				f.drop(c, 128)
				reply(w, 500, map[string]string{"message": why})
				return
			}
		}
		go func() { f.drop(c, f.program(c)) }()
		w.WriteHeader(204)
	case "wait":
		w.WriteHeader(200)
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		} else {
			return
		}
		select {
		case <-c.gone:
			_ = json.NewEncoder(w).Encode(map[string]int{"StatusCode": c.code})
		case <-r.Context().Done():
		}
	case "kill":
		signal := r.URL.Query().Get("signal")
		c.signals <- signal
		if signal == "SIGKILL" {
			f.drop(c, 137)
		}
		w.WriteHeader(204)
	case "":
		f.drop(c, 137)
		w.WriteHeader(204)
	}
}

// drop ends a container, which removes it.
func (f *fakeDaemon) drop(c *fakeContainer, code int) {
	c.once.Do(func() {
		c.code = code
		if c.out != nil {
			_ = c.out.Close()
		}
		f.mu.Lock()
		delete(f.containers, c.name)
		f.mu.Unlock()
		close(c.gone)
	})
}
