package vm

import (
	"testing"
	"time"
)

// TestPrompt finds the question for a login wherever the console's writes are
// cut, and each only once.
func TestPrompt(t *testing.T) {
	const console = "\r\nDebian GNU/Linux 12 golden ttyS0\r\n\r\ngolden login: "
	for cut := range len(console) {
		s, err := newSerial("", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		prompt := s.nextPrompt()
		write := func(text string) {
			if _, err := s.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		write(console[:cut])
		if closed(prompt) {
			t.Fatalf("seen in %q", console[:cut])
		}
		write(console[cut:])
		if !closed(prompt) {
			t.Fatalf("not seen, cut at %d", cut)
		}
		again := s.nextPrompt()
		write("\r\n")
		if closed(again) {
			t.Fatal("an old prompt was taken for a new one")
		}
		for i := range len(console) {
			write(console[i : i+1])
		}
		if !closed(again) {
			t.Fatal("not seen byte by byte")
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestUp ends the wait with the machine, and not before it may be up.
func TestUp(t *testing.T) {
	s, err := newSerial("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{Accel: TCG, serial: s, done: make(chan struct{})}
	up := m.Up()
	if closed(up) {
		t.Error("it is up already")
	}
	close(m.done)
	select {
	case <-up:
	case <-time.After(10 * time.Second):
		t.Error("the wait goes on after the machine's end")
	}
}
