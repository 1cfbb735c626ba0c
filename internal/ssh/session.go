package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
)

// outputGrace is how long output may follow a command's exit. A service that
// the command started may hold its output open for as long as it runs.
const outputGrace = 2 * time.Second

// session is one command's channel (RFC 4254, section 6). The library's own
// would wait for the end of the output, not of the command.
type session struct {
	channel  ssh.Channel
	requests <-chan *ssh.Request
}

// open opens a session; a server that does not answer must not hold us.
func (c *Client) open(ctx context.Context) (*session, error) {
	type opened struct {
		s   *session
		err error
	}
	result := make(chan opened, 1)
	go func() {
		channel, requests, err := c.conn.OpenChannel("session", nil)
		result <- opened{&session{channel, requests}, err}
	}()
	select {
	case o := <-result:
		if o.err != nil {
			return nil, lost(o.err)
		}
		return o.s, nil
	case <-ctx.Done():
		go func() {
			if o := <-result; o.err == nil {
				go ssh.DiscardRequests(o.s.requests)
				o.s.close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func (s *session) close() { _ = s.channel.Close() }

// run runs line to its end; close makes it return.
func (s *session) run(line string, command guest.Command) error {
	ended := make(chan error, 1)
	go func() { ended <- s.ending() }()
	ok, err := s.channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	switch {
	case err != nil:
		return lost(err)
	case !ok:
		return fault.Errorf(fault.Guest, "ssh: the guest refuses to run commands")
	}
	out := &output{}
	defer out.end()
	copied := make(chan error, 2)
	go func() { copied <- copyAll(out.to(command.Stdout), s.channel) }()
	go func() { copied <- copyAll(out.to(command.Stderr), s.channel.Stderr()) }()
	go func() {
		if command.Stdin != nil {
			_, _ = io.Copy(s.channel, command.Stdin)
		}
		_ = s.channel.CloseWrite()
	}()
	err = <-ended
	timer := time.NewTimer(outputGrace)
	defer timer.Stop()
	for range 2 {
		select {
		case copyErr := <-copied:
			if copyErr != nil {
				err = errors.Join(err, copyErr)
			}
		case <-timer.C:
			return err
		}
	}
	return err
}

// copyAll goes on reading after the writer failed: a command that nobody
// listens to any more would wait for ever.
func copyAll(w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, r)
	if err != nil {
		_, _ = io.Copy(io.Discard, r)
		return fmt.Errorf("output of the guest: %w", err)
	}
	return nil
}

// ending waits for the command's exit, or for the end of the connection.
func (s *session) ending() error {
	for request := range s.requests {
		err, known := exit(request)
		if request.WantReply {
			_ = request.Reply(known, nil)
		}
		if known {
			go ssh.DiscardRequests(s.requests)
			return err
		}
	}
	return fault.Errorf(fault.Guest, "the connection to the guest was lost during the command")
}

// exit reads the two messages of RFC 4254, section 6.10.
func exit(request *ssh.Request) (err error, known bool) {
	switch request.Type {
	case "exit-status":
		var message struct{ Status uint32 }
		if err := ssh.Unmarshal(request.Payload, &message); err != nil {
			return lost(err), true
		}
		if message.Status == 0 {
			return nil, true
		}
		return &guest.ExitError{Status: int(message.Status)}, true
	case "exit-signal":
		var message struct {
			Signal     string
			CoreDumped bool
			Message    string
			Language   string
		}
		if err := ssh.Unmarshal(request.Payload, &message); err != nil {
			return lost(err), true
		}
		return &guest.ExitError{Status: -1, Signal: signalName(message.Signal)}, true
	}
	return nil, false
}

func signalName(name string) string {
	switch name {
	case "KILL":
		return "killed"
	case "TERM":
		return "terminated"
	}
	return strings.ToLower(name)
}

// output is where a command's streams go until the call returns: one at a time,
// as both may have the same writer, and nothing after the end.
type output struct {
	mu    sync.Mutex
	ended bool
}

func (o *output) to(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return &stream{o, w}
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
}

type stream struct {
	o *output
	w io.Writer
}

func (s *stream) Write(p []byte) (int, error) {
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	if s.o.ended {
		return len(p), nil
	}
	return s.w.Write(p)
}
