package githubtest

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Call is one request as the log has it.
type Call struct {
	Number int // from one on, in the order of arrival
	Method string
	Path   string
	Query  string
	Status int    // zero while it runs, and where no answer was sent
	Fault  Effect // what went wrong on purpose
	Agent  string // the User-Agent header
}

func (s *Server) begin(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.number = len(s.calls) + 1
	c.fault = s.choose(c)
	entry := Call{Number: c.number, Method: c.Method, Path: c.URL.Path, Query: c.URL.RawQuery, Agent: c.UserAgent()}
	if c.fault != nil {
		entry.Fault = c.fault.Effect
	}
	s.calls = append(s.calls, entry)
	s.announce()
}

func (s *Server) end(c *call, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[c.number-1].Status = status
	s.announce()
}

// announce wakes who awaits something; it is called with the lock held.
func (s *Server) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Await returns when the condition holds, or ctx's error. It is asked after
// each step of a request: arrived, an upload has taken its name, answered.
func (s *Server) Await(ctx context.Context, condition func() bool) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Calls is the log of all requests so far. A test that counts them can make
// each one fail in turn: Fault{Nth: n}.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count says how many requests had this method, any if empty, and a path that
// the regular expression matches.
func (s *Server) Count(method, path string) int {
	pattern := regexp.MustCompile(path)
	count := 0
	for _, each := range s.Calls() {
		if (method == "" || method == each.Method) && pattern.MatchString(each.Path) {
			count++
		}
	}
	return count
}

// Violations are the messages, requests and our own answers, that GitHub's
// description does not allow; each has failed the test already.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/api/uploads/")
}
