package run

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
)

// TailBytes is how much of a program's output an error quotes.
const TailBytes = 2048

// Tail keeps the last TailBytes written to it. The zero value is ready.
type Tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer and never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(0, len(p)-TailBytes):]...)
	if over := len(t.buf) - TailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// String returns what was kept, trimmed and Printable; of a line that was
// written over itself what a LineWriter keeps of it.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(string(t.buf), "\n")
	for i, line := range lines {
		lines[i] = shown(line)
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// MaxLine is where LineWriter breaks a line that does not end.
const MaxLine = 16 << 10

// LineWriter calls fn for every line written to it, Printable and without the
// newline. Of a line that was written over itself, as progress is, it gets the
// last text alone; of one that goes on so for ever, one text in MaxLine bytes.
// Memory is bounded by MaxLine, whatever is written. Close flushes the last
// line. It is safe for concurrent use.
func LineWriter(fn func(line string)) io.WriteCloser { return &lineWriter{fn: fn} }

type lineWriter struct {
	mu  sync.Mutex
	buf []byte
	fn  func(string)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		room := MaxLine - len(w.buf)
		switch {
		case i >= 0 && i <= room:
			w.buf = append(w.buf, p[:i]...)
			p = p[i+1:]
		case len(p) >= room:
			w.buf = append(w.buf, p[:room]...)
			p = p[room:]
			w.flush(w.full())
			continue
		default:
			w.buf = append(w.buf, p...)
			return n, nil
		}
		w.flush(len(w.buf))
	}
	return n, nil
}

func (w *lineWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.flush(len(w.buf))
	}
	return nil
}

// full is where a line that has no end yet is broken: before the text that is
// just being written over the others, if there is one.
func (w *lineWriter) full() int {
	if i := bytes.LastIndexByte(w.buf, '\r'); i > 0 {
		return i + 1
	}
	return len(w.buf)
}

// flush shows the first n bytes as a line.
func (w *lineWriter) flush(n int) {
	w.fn(shown(string(w.buf[:n])))
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
}

// shown is what a log keeps of a line that was written over itself: the last
// text that is not blank. A terminal would show that, and beside it whatever
// the line had further right.
func shown(line string) string {
	for {
		line = strings.TrimRight(line, "\r")
		i := strings.LastIndexByte(line, '\r')
		last := Printable(line[i+1:])
		if i < 0 || strings.TrimSpace(last) != "" {
			return last
		}
		line = line[:i]
	}
}

// Quote renders argv so that it can be pasted into a POSIX shell.
func Quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = arg
		if arg == "" || strings.ContainsFunc(arg, needsQuoting) {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

func needsQuoting(r rune) bool {
	safe := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("@%+=:,./-_", r)
	return !safe
}

// Environ is the environment that children get: a fixed PATH, locale and home,
// so that nothing of the caller's reaches an output, and the caller's proxy
// settings, without which nothing can be downloaded.
func Environ(extra ...string) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/root", "DEBIAN_FRONTEND=noninteractive",
	}
	for _, each := range os.Environ() {
		name, _, _ := strings.Cut(each, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "tmpdir":
			env = append(env, each)
		}
	}
	return append(env, extra...)
}
