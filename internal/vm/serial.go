package vm

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/org/imagebuild-action/internal/run"
)

const (
	maxSerialLog  = 16 << 20 // bytes; a guest that writes without end must not fill our disk
	serialTail    = 40       // lines kept for error messages
	serialTailMax = 400      // bytes of each of them
)

// fatalSerial are lines after which a Linux guest waits for a person who is
// not there. A guest can fake them, and ends its own test by doing so.
var fatalSerial = []string{
	"Kernel panic - not syncing",
	"Dropping to a shell!",              // initramfs-tools found no root
	"You are in emergency mode",         // systemd
	"Entering emergency mode",           // dracut
	"No bootable device.",               // SeaBIOS
	"Entering rescue mode",              // GRUB found no modules
	"BdsDxe: No bootable option or dev", // OVMF
}

// serial takes what the guest writes to its console: to the log file, to the
// callback, and into a bounded tail.
type serial struct {
	lines io.WriteCloser
	log   *os.File
	raw   io.Writer // may be nil

	mu      sync.Mutex
	written int64
	tail    []string
	fatal   string
	stuck   chan struct{} // closed at the first fatal line
	ending  []byte        // of what was written
	prompt  chan struct{} // closed when a login is asked for; nil if nobody waits
}

// loginPrompt is what getty ends its prompt with (agetty(8)).
const loginPrompt = "login: "

func newSerial(path string, onLine func(string), raw io.Writer) (*serial, error) {
	s := &serial{stuck: make(chan struct{}), raw: raw}
	if path != "" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return nil, run.Explain(fmt.Errorf("serial log: %w", err))
		}
		s.log = f
	}
	s.lines = run.LineWriter(func(line string) {
		s.line(line)
		if onLine != nil {
			onLine(line)
		}
	})
	return s, nil
}

// Write implements io.Writer. It never fails: a full disk must not stop the
// guest that we are looking at.
func (s *serial) Write(p []byte) (int, error) {
	if s.log != nil && s.written < maxSerialLog {
		room := min(int64(len(p)), maxSerialLog-s.written)
		_, _ = s.log.Write(p[:room])
		if s.written += room; s.written == maxSerialLog {
			_, _ = fmt.Fprintf(s.log, "\n[the log ends here: the guest wrote more than %d bytes]\n", int64(maxSerialLog))
		}
	}
	if s.raw != nil {
		_, _ = s.raw.Write(p)
	}
	s.lookForPrompt(p)
	return s.lines.Write(p)
}

func (s *serial) lookForPrompt(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := slices.Concat(s.ending, p)
	s.ending = append(s.ending[:0], text[max(0, len(text)-len(loginPrompt)):]...)
	if s.prompt != nil && bytes.Contains(text, []byte(loginPrompt)) {
		close(s.prompt)
		s.prompt = nil
	}
}

// nextPrompt is closed when a login is asked for from now on. One who waits
// replaces the one before.
func (s *serial) nextPrompt() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = s.ending[:0]
	s.prompt = make(chan struct{})
	return s.prompt
}

func (s *serial) line(text string) {
	text = printable(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if text != "" {
		if len(s.tail) == serialTail {
			s.tail = append(s.tail[:0], s.tail[1:]...)
		}
		s.tail = append(s.tail, text[:min(len(text), serialTailMax)])
	}
	if s.fatal != "" {
		return
	}
	for _, each := range fatalSerial {
		if strings.Contains(text, each) {
			s.fatal = text[:min(len(text), serialTailMax)]
			close(s.stuck)
			return
		}
	}
}

func (s *serial) last() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.tail...)
}

func (s *serial) fatalLine() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fatal
}

// flush takes the last line, which a guest that powers off may not have ended.
func (s *serial) flush() { _ = s.lines.Close() }

func (s *serial) close() {
	_ = s.lines.Close()
	if s.log != nil {
		_ = s.log.Close()
	}
}

// printable drops control characters and the escape sequences of terminals,
// which firmware and systemd write in plenty.
func printable(text string) string {
	var b strings.Builder
	escape := 0 // 1 after ESC, 2 inside a control sequence
	for _, r := range text {
		switch {
		case r == 0x1b:
			escape = 1
		case escape == 1:
			escape = 0
			if r == '[' {
				escape = 2
			}
		case escape == 2:
			if r >= 0x40 && r <= 0x7e {
				escape = 0
			}
		case r >= ' ' && r != 0x7f || r == '\t':
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}
