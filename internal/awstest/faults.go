package awstest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"
)

// Effect is how a call goes wrong.
type Effect string

// The ways in which calls go wrong.
const (
	Internal Effect = "internal" // an answer of 500
	Throttle Effect = "throttle" // the service's own word for "slower"
	Hang     Effect = "hang"     // no answer until the client gives up
	Reset    Effect = "reset"    // the connection is reset
	Refuse   Effect = "refuse"   // an error that no further attempt can mend
	Pass     Effect = "pass"     // nothing goes wrong; for Fault.Then
	// Stillborn answers well, and what was made, an instance or an image, fails
	// after it was pending.
	Stillborn Effect = "stillborn"
)

// Fault is a scripted mishap.
type Fault struct {
	Operation string // any unless set
	Region    string // any unless set
	// Nth is the matching call that fails first, from one on, and Times how
	// many fail from there on; one of each unless set, all if Times is negative.
	Nth, Times int
	Effect     Effect
	// Code is what Refuse answers, in EC2: "InsufficientInstanceCapacity",
	// "Unsupported", "VcpuLimitExceeded". OperationNotPermitted unless set.
	Code string
	// After says that the call takes effect, and only its answer is lost.
	After bool
	// Then is called when it happens, as to cancel the client; may be nil.
	Then func()
}

// Chaos breaks one in OneIn calls, drawn by Seed and the call's number.
type Chaos struct {
	Seed      string
	OneIn     int
	Operation string // any unless set
	Effect    Effect
}

type script struct {
	Fault
	seen int
}

// Call is one request as the log has it.
type Call struct {
	Number    int // from one on, in the order of arrival
	Service   string
	Region    string
	Operation string
	DryRun    bool
	Fault     Effect // what went wrong on purpose
	Error     string // the code that was answered
}

// Fail adds a fault to the script. The first that fits a call happens.
func (s *Server) Fail(fault Fault) {
	fault.Nth = max(fault.Nth, 1)
	if fault.Times == 0 {
		fault.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts = append(s.scripts, &script{Fault: fault})
}

// Heal ends all faults, scripted and drawn.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts, s.opts.Chaos, s.opts.PutsPerSecond = nil, nil, 0
}

// Idle waits until no request is being dealt with, as those of a client that
// was killed are for a moment.
func (s *Server) Idle(ctx context.Context) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for quiet := 0; quiet < 10; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if quiet++; s.busy.Load() > 0 {
			quiet = 0
		}
	}
	return nil
}

// Calls is the log so far. A test that counts them can make each one fail in
// turn: Fault{Nth: n}.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count says how many calls were of the operation.
func (s *Server) Count(operation string) int {
	n := 0
	for _, each := range s.Calls() {
		if each.Operation == operation && !each.DryRun {
			n++
		}
	}
	return n
}

// choose is called with the lock held, with a call that is in the log.
func (s *Server) choose(c Call) *Fault {
	var chosen *Fault
	for _, each := range s.scripts {
		if each.Operation != "" && each.Operation != c.Operation || each.Region != "" && each.Region != c.Region {
			continue
		}
		each.seen++
		if chosen == nil && each.seen >= each.Nth && (each.Times < 0 || each.seen < each.Nth+each.Times) {
			chosen = &each.Fault
		}
	}
	for _, chaos := range s.opts.Chaos {
		if chosen != nil || chaos.Operation != "" && chaos.Operation != c.Operation {
			continue
		}
		digest := sha256.Sum256(fmt.Appendf(nil, "%s %d", chaos.Seed, c.Number))
		if binary.BigEndian.Uint64(digest[:])%uint64(chaos.OneIn) == 0 {
			chosen = &Fault{Effect: chaos.Effect}
		}
	}
	return chosen
}

// throttled takes one put from the allowance; it is called with the lock held.
func (s *Server) throttled(operation string) bool {
	if s.opts.PutsPerSecond == 0 || operation != "PutSnapshotBlock" {
		return false
	}
	now := s.opts.Now()
	s.allowance = min(s.opts.PutsPerSecond, s.allowance+now.Sub(s.refilled).Seconds()*s.opts.PutsPerSecond)
	s.refilled = now
	if s.allowance < 1 {
		return true
	}
	s.allowance--
	return false
}

// fail answers in place of a call's own answer.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, c *call, fault *Fault) {
	switch fault.Effect {
	case Hang:
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
		reset(w)
	case Reset:
		reset(w)
	case Throttle:
		s.answerError(w, c, c.throttling())
	case Refuse:
		s.answerError(w, c, c.refusal(fault.Code))
	default:
		s.answerError(w, c, c.internal())
	}
}

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

func (c *call) throttling() *failure {
	switch c.service.Name {
	case "ec2":
		return refuse(http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded.")
	case "ebs":
		return refuse(0, "RequestThrottledException", "The number of API requests has exceeded the maximum allowed.").because("ACCOUNT_THROTTLED")
	case "ssm":
		return refuse(http.StatusBadRequest, "ThrottlingException", "Rate exceeded")
	}
	return refuse(http.StatusBadRequest, "Throttling", "Rate exceeded")
}

func (c *call) internal() *failure {
	switch c.service.Name {
	case "ebs":
		return refuse(0, "InternalServerException", "An internal error has occurred.")
	case "ec2":
		return refuse(http.StatusInternalServerError, "InternalError", "An internal error has occurred.")
	case "ssm":
		return refuse(http.StatusInternalServerError, "InternalServerError", "An error occurred on the server side.")
	}
	return refuse(http.StatusInternalServerError, "InternalFailure", "An internal error has occurred.")
}

// serverErrors are refusals that EC2 answers as if the fault were its own.
var serverErrors = map[string]int{"InsufficientInstanceCapacity": http.StatusInternalServerError, "Unavailable": http.StatusServiceUnavailable}

func (c *call) refusal(code string) *failure {
	switch c.service.Name {
	case "ebs":
		return refuse(0, "ValidationException", "Refused for the test.").because("INVALID_PARAMETER_VALUE")
	case "ec2":
		return refuse(cmp.Or(serverErrors[code], http.StatusBadRequest), cmp.Or(code, "OperationNotPermitted"), "Refused for the test.")
	}
	return refuse(http.StatusBadRequest, "ValidationException", "Refused for the test.")
}
