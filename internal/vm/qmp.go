package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A client of the QEMU Machine Protocol (docs/interop/qmp-spec in QEMU):
// one JSON object a line, answers matched by id, events in between.
type qmp struct {
	conn   net.Conn
	events func(name string, data json.RawMessage)
	done   chan struct{} // closed when the other side is gone

	mu      sync.Mutex
	next    int
	waiting map[int]chan qmpAnswer
	err     error // why done is closed
}

type qmpAnswer struct {
	value json.RawMessage
	err   error
}

// qmpMessage is whatever QEMU may send.
type qmpMessage struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     *int            `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

const (
	maxQMPLine = 1 << 20 // bytes; the greatest answer that we ask for has a few hundred
	qmpTimeout = 20 * time.Second
)

// newQMP takes over conn and negotiates. events is called in order, from one
// goroutine.
func newQMP(ctx context.Context, conn net.Conn, events func(string, json.RawMessage)) (*qmp, error) {
	q := &qmp{conn: conn, events: events, done: make(chan struct{}), waiting: map[int]chan qmpAnswer{}}
	greeted := make(chan struct{})
	go q.read(greeted)
	select {
	case <-greeted:
	case <-q.done:
		return nil, q.close()
	case <-ctx.Done():
		_ = q.close()
		return nil, endedError(ctx, "wait for QEMU's greeting")
	}
	if _, err := q.execute(ctx, "qmp_capabilities", nil); err != nil {
		_ = q.close()
		return nil, err
	}
	return q, nil
}

func (q *qmp) read(greeted chan<- struct{}) {
	scanner := bufio.NewScanner(q.conn)
	scanner.Buffer(nil, maxQMPLine)
	for scanner.Scan() {
		var m qmpMessage
		if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
			q.end(fmt.Errorf("qmp: %w", err))
			return
		}
		switch {
		case m.QMP != nil && greeted != nil:
			close(greeted)
			greeted = nil
		case m.Event != "":
			q.events(m.Event, m.Data)
		case m.ID != nil:
			q.answer(*m.ID, m)
		}
	}
	err := scanner.Err()
	if err == nil {
		err = io.EOF
	}
	q.end(fmt.Errorf("qmp: %w", err))
}

func (q *qmp) answer(id int, m qmpMessage) {
	q.mu.Lock()
	waiter := q.waiting[id]
	delete(q.waiting, id)
	q.mu.Unlock()
	if waiter == nil {
		return
	}
	if m.Error != nil {
		waiter <- qmpAnswer{err: fmt.Errorf("%s: %s", m.Error.Class, m.Error.Desc)}
		return
	}
	waiter <- qmpAnswer{value: m.Return}
}

func (q *qmp) end(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	close(q.done)
}

func (q *qmp) close() error {
	_ = q.conn.Close()
	<-q.done
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// execute sends one command and waits for its answer.
func (q *qmp) execute(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	return q.executeWith(ctx, command, arguments, nil)
}

// executeWith sends an open file along with the command, if file is not nil.
func (q *qmp) executeWith(ctx context.Context, command string, arguments any, file *os.File) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	waiter := make(chan qmpAnswer, 1)
	q.mu.Lock()
	q.next++
	id := q.next
	q.waiting[id] = waiter
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.waiting, id)
		q.mu.Unlock()
	}()
	request := struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, arguments, id}
	line, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	deadline, _ := ctx.Deadline()
	_ = q.conn.SetWriteDeadline(deadline)
	if err := q.send(append(line, '\n'), file); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case answer := <-waiter:
		if answer.err != nil {
			return nil, fmt.Errorf("qmp %s: %w", command, answer.err)
		}
		return answer.value, nil
	case <-q.done:
		q.mu.Lock()
		defer q.mu.Unlock()
		return nil, fmt.Errorf("qmp %s: %w", command, q.err)
	case <-ctx.Done():
		return nil, endedError(ctx, "qmp "+command)
	}
}

// send writes one line, and with it a descriptor (unix(7), SCM_RIGHTS).
func (q *qmp) send(line []byte, file *os.File) error {
	if file == nil {
		_, err := q.conn.Write(line)
		return err
	}
	conn, ok := q.conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a descriptor cannot be sent through %T", q.conn)
	}
	n, _, err := conn.WriteMsgUnix(line, syscall.UnixRights(int(file.Fd())), nil)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	return err
}
