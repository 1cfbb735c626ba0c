package githubtest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// Effect is how a request goes wrong.
type Effect string

// The ways in which requests go wrong.
const (
	Status         Effect = "status"          // an answer of Fault.Status, 500 unless set
	SecondaryLimit Effect = "secondary limit" // 403, with retry-after
	TooMany        Effect = "too many"        // 429, with retry-after
	PrimaryLimit   Effect = "primary limit"   // 403, nothing left until x-ratelimit-reset
	AlreadyExists  Effect = "already exists"  // an upload's 422
	BrokenUpload   Effect = "broken upload"   // 502 half-way through, leaving a starter asset
	Reset          Effect = "reset"           // the connection is reset
	Hang           Effect = "hang"            // no answer until the client gives up
	Slow           Effect = "slow"            // an answer after Fault.Delay
)

// Fault is a scripted mishap.
type Fault struct {
	Method string // any unless set
	Path   string // a regular expression for the path; any unless set
	// Nth is the matching request that fails first, from one on, and Times
	// how many fail from there on; one of each unless set, all if Times is negative.
	Nth, Times int

	Effect Effect
	Status int
	// After says that the request takes effect, and only its answer is lost.
	After bool
	// RetryAfter is the header's value in seconds, "0" too; none unless set.
	RetryAfter string
	// Wait is how far off x-ratelimit-reset is; a minute unless set.
	Wait time.Duration
	// Delay is how long Slow takes.
	Delay time.Duration
}

// Chaos breaks one in OneIn requests, drawn by Seed and the request's number,
// with one of Faults, drawn the same way. Those that do not fit a request (its
// Method, its Path, or an upload's effect) pass it by. Nobody who tries again
// is hit for ever: at most Row times in a row what a User-Agent asks of a path.
type Chaos struct {
	Seed   string
	OneIn  int
	Row    int // no bound unless set
	Faults []Fault
}

type script struct {
	Fault
	path *regexp.Regexp
	seen int
}

// Fail adds a fault to the script. The first that fits a request happens.
func (s *Server) Fail(fault Fault) {
	s.t.Helper()
	path, err := regexp.Compile(fault.Path)
	if err != nil {
		s.t.Fatalf("the path of a fault: %v", err)
	}
	fault.Nth, fault.Times = max(fault.Nth, 1), max(fault.Times, -1)
	if fault.Times == 0 {
		fault.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts = append(s.scripts, &script{Fault: fault, path: path})
}

// fits says whether a fault can happen to this request at all.
func (f *Fault) fits(r *http.Request) bool {
	uploadOnly := f.Effect == BrokenUpload || f.Effect == AlreadyExists
	return (f.Method == "" || f.Method == r.Method) && (!uploadOnly || isUpload(r))
}

// inHandler says whether the handler itself makes the fault happen.
func (f *Fault) inHandler() bool { return f.Effect == BrokenUpload || f.Effect == Slow }

// choose is called with the lock held.
func (s *Server) choose(c *call) *Fault {
	var chosen *Fault
	for _, each := range s.scripts {
		if !each.fits(c.Request) || !each.path.MatchString(c.URL.Path) {
			continue
		}
		each.seen++
		if chosen == nil && each.seen >= each.Nth && (each.Times < 0 || each.seen < each.Nth+each.Times) {
			chosen = &each.Fault
		}
	}
	if chosen != nil {
		return chosen
	}
	return s.merciful(c, s.opts.Chaos.draw(c))
}

// draw is what chaos has for a request; nil for nothing.
func (chaos Chaos) draw(c *call) *Fault {
	if chaos.OneIn <= 0 || len(chaos.Faults) == 0 {
		return nil
	}
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %d", chaos.Seed, c.number))
	if binary.BigEndian.Uint64(digest[:])%uint64(chaos.OneIn) != 0 {
		return nil
	}
	fault := chaos.Faults[binary.BigEndian.Uint64(digest[8:])%uint64(len(chaos.Faults))]
	if fits, err := regexp.MatchString(fault.Path, c.URL.Path); err != nil || !fits || !fault.fits(c.Request) {
		return nil
	}
	return &fault
}

// merciful ends a row of faults that has become too long.
func (s *Server) merciful(c *call, fault *Fault) *Fault {
	if s.opts.Chaos.Row == 0 {
		return fault
	}
	who := c.UserAgent() + " " + c.Method + " " + c.URL.Path
	if fault == nil || s.rows[who] >= s.opts.Chaos.Row {
		delete(s.rows, who)
		return nil
	}
	s.rows[who]++
	return fault
}

// fault answers in place of the handler, or of its answer.
func (s *Server) fault(w http.ResponseWriter, c *call) {
	f := c.fault
	var result *reply
	switch f.Effect {
	case Reset:
		s.end(c, 0)
		reset(w)
		return
	case Hang:
		s.end(c, 0)
		s.hang(w, c)
		return
	case SecondaryLimit:
		result = failure(http.StatusForbidden, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	case TooMany:
		result = failure(http.StatusTooManyRequests, "Too many requests")
	case PrimaryLimit:
		result = failure(http.StatusForbidden, "API rate limit exceeded for installation ID 1.")
		wait := f.Wait
		if wait == 0 {
			wait = time.Minute
		}
		setLimit(result.header, 5000, 5000, s.opts.Now().Add(wait))
	case AlreadyExists:
		result = invalid("ReleaseAsset", "name", "already_exists")
	case BrokenUpload:
		result = failure(http.StatusBadGateway, "Server Error")
	default:
		status := f.Status
		if status == 0 {
			status = http.StatusInternalServerError
		}
		result = failure(status, http.StatusText(status))
	}
	if f.RetryAfter != "" {
		result.header.Set("Retry-After", f.RetryAfter)
	}
	if f.Effect != PrimaryLimit {
		s.limitHeaders(c.access, result.header)
	}
	if isUpload(c.Request) {
		s.drain(c)
		result.header.Set("Connection", "close") // what is left of the body is not read
	}
	s.end(c, result.status)
	result.send(w)
}

// reset ends the connection without a farewell: the client reads ECONNRESET.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// hang reads nothing and says nothing until the client, or the test, ends.
func (s *Server) hang(w http.ResponseWriter, c *call) {
	select {
	case <-c.Context().Done():
	case <-s.done:
	}
	reset(w)
}

// slow waits for a Slow fault.
func (s *Server) slow(c *call) {
	if c.fault == nil || c.fault.Effect != Slow {
		return
	}
	timer := time.NewTimer(c.fault.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.Context().Done():
	case <-s.done:
	}
}

// limited counts a request, and answers one too many.
func (s *Server) limited(a Access) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.opts.Now(); !now.Before(s.hour) {
		s.hour, s.used = now.Add(time.Hour), map[Access]int{}
	}
	s.used[a]++
	if s.opts.RateLimit == 0 || s.used[a] <= s.opts.RateLimit {
		return nil
	}
	return failure(http.StatusForbidden, "API rate limit exceeded for installation ID 1.")
}

func (s *Server) limitHeaders(a Access, header http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.opts.RateLimit
	if limit == 0 {
		limit = max(5000, 2*s.used[a])
	}
	setLimit(header, limit, min(s.used[a], limit), s.hour)
}

func setLimit(header http.Header, limit, used int, resetAt time.Time) {
	header.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(limit-used))
	header.Set("X-RateLimit-Used", strconv.Itoa(used))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(resetAt.Unix(), 10))
	header.Set("X-RateLimit-Resource", "core")
}
