package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/retry"
	"github.com/org/imagebuild-action/internal/testkit"
)

// server serves one file and misbehaves on demand.
type server struct {
	*httptest.Server
	content []byte
	// behave is asked at the n-th request, from one on; true means that it
	// has answered.
	behave func(n int, w http.ResponseWriter, r *http.Request) bool

	mu     sync.Mutex
	ranges []string // of each request
}

func serve(t *testing.T, content []byte) *server {
	t.Helper()
	s := &server{content: content}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.ranges = append(s.ranges, r.Header.Get("Range"))
	n := len(s.ranges)
	s.mu.Unlock()
	w.Header().Set("ETag", `"one"`)
	if s.behave != nil && s.behave(n, w, r) {
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
}

func (s *server) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ranges)
}

func (s *server) asked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.ranges, ",")
}

func (s *server) request(t *testing.T) Request {
	t.Helper()
	return Request{
		Location: s.URL + "/disk.raw", Checksum: sumOf(s.content), CacheDir: t.TempDir(),
		StallLimit: 100 * time.Millisecond, Retry: retry.Policy{Attempts: 3, Delay: time.Millisecond},
	}
}

func sumOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func get(ctx context.Context, r Request) (string, error) {
	return Get(ctx, r, report.Discard.Begin(""))
}

// mustHave gets the file and compares it.
func mustHave(t *testing.T, r Request, want []byte) {
	t.Helper()
	path, err := get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
	}
	mustBe(t, r.CacheDir, filepath.Base(path))
}

// mustBe fails unless the downloads are exactly these files.
func mustBe(t *testing.T, cacheDir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(cacheDir, downloadsDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("in the cache: %v, want %v", names, want)
	}
}

func half(w http.ResponseWriter, s *server) {
	w.Header().Set("Content-Length", strconv.Itoa(len(s.content)))
	_, _ = w.Write(s.content[:len(s.content)/2])
	w.(http.Flusher).Flush()
}

func TestDownloads(t *testing.T) {
	content := testkit.Noise(1, 300_000)
	resumed := ",bytes=150000-"
	for name, c := range map[string]struct {
		behave func(s *server, n int, w http.ResponseWriter, r *http.Request) bool
		asked  string // the ranges of the requests
	}{
		"well": {asked: ""},
		"the server hangs in mid-download": {func(s *server, n int, w http.ResponseWriter, r *http.Request) bool {
			if n > 1 {
				return false
			}
			half(w, s)
			<-r.Context().Done()
			return true
		}, resumed},
		"the server hangs before the first byte": {func(_ *server, n int, _ http.ResponseWriter, r *http.Request) bool {
			if n > 1 {
				return false
			}
			<-r.Context().Done()
			return true
		}, ","},
		"the body is short": {func(s *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			if n > 1 {
				return false
			}
			half(w, s)
			return true
		}, resumed},
		"the server ignores Range": {func(s *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 1 {
				half(w, s)
			} else {
				_, _ = w.Write(s.content)
			}
			return true
		}, resumed},
		"the file has changed meanwhile": {func(_ *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 1 {
				w.Header().Set("ETag", `"old"`)
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write(make([]byte, 500))
				return true
			}
			return false // ServeContent compares If-Range
		}, ",bytes=500-"},
		"the server has no validator": {func(s *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Del("ETag")
			if n == 1 {
				half(w, s)
			}
			return n == 1
		}, ","},
		"the server lies about the part": {func(s *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			switch n {
			case 1:
				half(w, s)
			case 2:
				w.Header().Set("Content-Range", "bytes 10-20/300000")
				w.WriteHeader(http.StatusPartialContent)
			}
			return n < 3
		}, resumed + ","},
		"the server sends another part than it says": {func(s *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			switch n {
			case 1:
				half(w, s)
			case 2:
				w.Header().Set("Content-Range", "bytes 150000-299999/300000")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(s.content[:150000])
			}
			return n < 3
		}, resumed + ","},
		"a part that was not asked for": {func(_ *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 1 {
				w.Header().Set("Content-Range", "bytes 0-299999/300000")
				w.WriteHeader(http.StatusPartialContent)
			}
			return n == 1
		}, ","},
		"the server loses the range": {func(s *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			switch n {
			case 1:
				half(w, s)
			case 2:
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			}
			return n < 3
		}, resumed + ","},
		"unavailable twice": {func(_ *server, n int, w http.ResponseWriter, _ *http.Request) bool {
			if n < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n < 3
		}, ",,"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, content)
			if c.behave != nil {
				s.behave = func(n int, w http.ResponseWriter, r *http.Request) bool { return c.behave(s, n, w, r) }
			}
			r := s.request(t)
			mustHave(t, r, content)
			if got := s.asked(); got != c.asked {
				t.Errorf("ranges asked for: %q, want %q", got, c.asked)
			}
			mustHave(t, r, content) // from the cache
			if got := s.asked(); got != c.asked {
				t.Errorf("the second time it was downloaded again: %q", got)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	content := testkit.Noise(1, 300_000)
	other := sumOf([]byte("another"))
	for name, c := range map[string]struct {
		behave func(s *server, n int, w http.ResponseWriter, r *http.Request) bool
		change func(*Request)
		want   []string // parts of the error
		kind   fault.Kind
		asked  int
	}{
		"not there": {
			behave: func(_ *server, _ int, w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true },
			want:   []string{"404 Not Found", "check the URL"}, kind: fault.Input, asked: 1,
		},
		"forbidden": {
			behave: func(_ *server, _ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusForbidden)
				return true
			},
			want: []string{"403", "rights"}, kind: fault.Input, asked: 1,
		},
		"unavailable for ever": {
			behave: func(_ *server, _ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true },
			want:   []string{"after 3 attempts", "500"}, kind: fault.Remote, asked: 3,
		},
		"it hangs for ever": {
			behave: func(_ *server, _ int, _ http.ResponseWriter, r *http.Request) bool {
				<-r.Context().Done()
				return true
			},
			want: []string{"after 3 attempts", "no byte for 100ms"}, kind: fault.Remote, asked: 3,
		},
		"it hangs behind its head": {
			behave: func(_ *server, _ int, w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Content-Length", "300000")
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return true
			},
			want: []string{"after 3 attempts", "no byte for 100ms"}, kind: fault.Remote, asked: 3,
		},
		"another file": {
			change: func(r *Request) { r.Checksum = other },
			want:   []string{other, sumOf(content)}, kind: fault.Input, asked: 1,
		},
		"too large, as announced": {
			change: func(r *Request) { r.LimitBytes = 299_999 },
			want:   []string{"larger than 299999 bytes"}, kind: fault.Input, asked: 1,
		},
		"too large, unannounced": {
			behave: func(s *server, _ int, w http.ResponseWriter, _ *http.Request) bool {
				w.(http.Flusher).Flush()
				_, _ = w.Write(s.content)
				return true
			},
			change: func(r *Request) { r.LimitBytes = 299_999 },
			want:   []string{"larger than 299999 bytes"}, kind: fault.Input, asked: 1,
		},
		"redirected out of HTTP": {
			behave: func(_ *server, _ int, w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
				return true
			},
			want: []string{"redirects from http to file"}, kind: fault.Input, asked: 1,
		},
		"redirected for ever": {
			behave: func(_ *server, _ int, w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "/again", http.StatusFound)
				return true
			},
			want: []string{"more than 10 times"}, kind: fault.Remote, asked: 10,
		},
		"no digest":              {change: func(r *Request) { r.Checksum = "" }, want: []string{"needs a digest"}, kind: fault.Input},
		"no such digest":         {change: func(r *Request) { r.Checksum = "md5:00" }, want: []string{"is not a digest"}, kind: fault.Input},
		"a list without a key":   {change: func(r *Request) { r.Checksum, r.ChecksumsURL = "", r.Location }, want: []string{"keyring"}, kind: fault.Input},
		"a digest and a list":    {change: func(r *Request) { r.ChecksumsURL = r.Location }, want: []string{"both"}, kind: fault.Input},
		"a scheme of its own":    {change: func(r *Request) { r.Location = "gopher://localhost/x" }, want: []string{"unsupported protocol scheme"}, kind: fault.Input},
		"no URL":                 {change: func(r *Request) { r.Location = "" }, want: []string{"neither a URL nor a path"}, kind: fault.Input},
		"a file on some machine": {change: func(r *Request) { r.Location = "file://elsewhere/x" }, want: []string{"unsupported protocol scheme"}, kind: fault.Input},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, content)
			if c.behave != nil {
				s.behave = func(n int, w http.ResponseWriter, r *http.Request) bool { return c.behave(s, n, w, r) }
			}
			r := s.request(t)
			if c.change != nil {
				c.change(&r)
			}
			_, err := get(t.Context(), r)
			if err == nil {
				t.Fatal("it was fetched")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if got := fault.KindOf(err); got != c.kind {
				t.Errorf("a fault of kind %v, want %v: %v", got, c.kind, err)
			}
			if got := s.requests(); got != c.asked {
				t.Errorf("%d requests, want %d", got, c.asked)
			}
			mustBe(t, r.CacheDir)
		})
	}
}

func TestFromProtectedToOpen(t *testing.T) {
	open := serve(t, []byte("content"))
	protected := httptest.NewTLSServer(http.RedirectHandler(open.URL+"/disk.raw", http.StatusFound))
	t.Cleanup(protected.Close)
	r := open.request(t)
	r.Location, r.Client = protected.URL+"/disk.raw?token=secret", protected.Client()
	_, err := get(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "from https to http") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if open.asked() != "" {
		t.Error("the open server was asked")
	}
}

func TestCancelledAndContinued(t *testing.T) {
	content := testkit.Noise(2, 300_000)
	s := serve(t, content)
	ctx, cancel := context.WithCancel(t.Context())
	s.behave = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n > 1 {
			return false
		}
		half(w, s)
		<-r.Context().Done()
		return true
	}
	r := s.request(t)
	r.StallLimit = time.Minute
	moved := &onProgress{Task: report.Discard.Begin(""), fn: func(done int64) {
		if done == 150_000 {
			cancel()
		}
	}}
	if _, err := Get(ctx, r, moved); !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled {
		t.Fatal(err)
	}
	mustHave(t, r, content)
	if got := s.asked(); got != ",bytes=150000-" {
		t.Errorf("ranges asked for: %q", got)
	}
}

type onProgress struct {
	report.Task
	fn func(done int64)
}

func (o *onProgress) Progress(done, _ int64) { o.fn(done) }

func TestDamagedInTheCache(t *testing.T) {
	content := testkit.Noise(3, 10_000)
	s := serve(t, content)
	r := s.request(t)
	path, err := get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content[:5000], 0o600); err != nil {
		t.Fatal(err)
	}
	mustHave(t, r, content)
	if n := s.requests(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestManyAtOnce(t *testing.T) {
	content := testkit.Noise(4, 1<<20)
	s := serve(t, content)
	r := s.request(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := get(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := s.requests(); n != 1 {
		t.Errorf("%d downloads of one file", n)
	}
	mustHave(t, r, content)
}

func TestWaitingIsCancelled(t *testing.T) {
	s := serve(t, []byte("x"))
	r := s.request(t)
	want, _ := parseDigest(r.Checksum)
	p, err := open(t.Context(), filepath.Join(r.CacheDir, downloadsDir, want.fileName()), report.Discard.Begin(""))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := get(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	good, bad := sumOf([]byte("content")), sumOf(nil)
	for name, c := range map[string]struct {
		location, checksum, want string
	}{
		"absolute":                 {file, "", ""},
		"relative":                 {"disk.raw", "", ""},
		"URL":                      {"file://" + file, "", ""},
		"with its digest":          {"disk.raw", good, ""},
		"with its other digest":    {"disk.raw", fmt.Sprintf("SHA512:%X", sha512.Sum512([]byte("content"))), ""},
		"with another's digest":    {"disk.raw", bad, "is wanted"},
		"missing":                  {"none.raw", "", "no such file"},
		"missing, with its digest": {"none.raw", good, "no such file"},
		"a folder":                 {".", "", "not a regular file"},
		"a folder, with a digest":  {".", good, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Request{Location: c.location, Checksum: c.checksum, BaseDir: dir, CacheDir: filepath.Join(dir, "cache")}
			path, err := get(t.Context(), r)
			if c.want == "" {
				if err != nil || path != file {
					t.Fatal(path, err)
				}
				want := good
				if c.checksum != "" {
					want = strings.ToLower(c.checksum)
				}
				if got, err := Digest(t.Context(), r); err != nil || got != want {
					t.Errorf("digest %s, %v; want %s", got, err, want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
				t.Errorf("%v of kind %v", err, fault.KindOf(err))
			}
		})
	}
	mustBe(t, filepath.Join(dir, "cache"))
}

func TestDigestWithoutDownload(t *testing.T) {
	s := serve(t, []byte("x"))
	if got, err := Digest(t.Context(), s.request(t)); err != nil || got != sumOf([]byte("x")) || s.requests() != 0 {
		t.Error(got, err, s.asked())
	}
}
