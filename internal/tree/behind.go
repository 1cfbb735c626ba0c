package tree

import "io"

// behindBuffers is how many pieces may wait to be written.
const behindBuffers = 4

// behind writes what it is given on a goroutine of its own, so that the next
// piece is read meanwhile. Its writer's error comes with a later Write, or with
// close.
type behind struct {
	full, free chan []byte   // the latter with room for all, that which is being filled included
	buf        []byte        // the piece that is being filled
	failed     chan struct{} // closed at the first error
	done       chan struct{} // closed when everything is written, or given up
	err        error         // read it after failed or done
	closed     bool
}

func startBehind(w io.Writer) *behind {
	b := &behind{
		full: make(chan []byte, behindBuffers), free: make(chan []byte, behindBuffers+1),
		buf: make([]byte, 0, copyBuffer), failed: make(chan struct{}), done: make(chan struct{}),
	}
	for range behindBuffers {
		b.free <- make([]byte, 0, copyBuffer)
	}
	go b.drain(w)
	return b
}

func (b *behind) drain(w io.Writer) {
	defer close(b.done)
	for piece := range b.full {
		if b.err != nil {
			continue
		}
		if _, err := w.Write(piece); err != nil {
			b.err = err
			close(b.failed)
			continue
		}
		b.free <- piece[:0]
	}
}

// Write implements io.Writer.
func (b *behind) Write(p []byte) (n int, err error) {
	for n < len(p) {
		some := copy(b.buf[len(b.buf):cap(b.buf)], p[n:])
		b.buf = b.buf[:len(b.buf)+some]
		n += some
		if len(b.buf) < cap(b.buf) {
			break
		}
		b.full <- b.buf // there is room for as many as there are
		select {
		case b.buf = <-b.free:
		case <-b.failed:
			b.buf = make([]byte, 0, copyBuffer)
			return n, b.err
		}
	}
	return n, nil
}

// close writes the rest and waits for the end. Nothing is written after it; a
// second time it says the same.
func (b *behind) close() error {
	if !b.closed {
		b.closed = true
		b.full <- b.buf
		close(b.full)
	}
	<-b.done
	return b.err
}
