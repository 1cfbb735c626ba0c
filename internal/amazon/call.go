package amazon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/retry"
)

// slow is an attempt that took longer than it may.
type slow struct{ limit time.Duration }

func (s *slow) Error() string { return fmt.Sprintf("no answer within %s", s.limit) }

// Attempt makes a call once, within the limit. What is worth another attempt
// is for the caller to decide, with Retryable.
func Attempt[T any](ctx context.Context, limit time.Duration, fn func(context.Context) (T, error)) (T, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := fn(bounded)
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case bounded.Err() != nil:
		return out, &slow{limit}
	}
	return out, err
}

// Do makes a call until it works: again after errors that can pass, each
// attempt within a limit of its own. right names the call as IAM does
// ("ec2:CopyImage"), for the error.
func Do[T any](ctx context.Context, c *Cloud, region, right string, fn func(context.Context) (T, error)) (out T, err error) {
	policy := retry.Policy{Attempts: c.Limits.Attempts, Delay: c.Limits.Delay, MaxDelay: c.Limits.MaxDelay}
	tried := 0
	var last error
	err = retry.Do(ctx, policy, func(ctx context.Context, attempt int) error {
		tried = attempt
		if out, last = Attempt(ctx, c.Limits.Attempt, fn); last != nil && !Retryable(last) {
			return retry.Permanent(last)
		}
		return last
	})
	if err == nil || ctx.Err() != nil {
		return out, err
	}
	if err = c.Explain(region, right, last); tried > 1 {
		err = fmt.Errorf("%w (tried %d times)", err, tried)
	}
	return out, err
}

// Throttled tells whether AWS asks for fewer calls.
func Throttled(err error) bool {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusTooManyRequests {
		return true
	}
	return slices.Contains([]string{
		"RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException", "SlowDown",
		"EC2ThrottledException", "TooManyRequestsException", "ConcurrentLimitExceededException", "SnapshotCreationPerVolumeRateExceeded",
	}, Code(err))
}

// Slow tells whether an attempt got no answer in its time.
func Slow(err error) bool {
	var s *slow
	return errors.As(err, &s)
}

// Retryable tells whether the same call may work a little later.
func Retryable(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	if Throttled(err) || Slow(err) {
		return true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return false // there is no such region
	}
	var sent *smithyhttp.RequestSendError
	if errors.As(err, &sent) {
		return true // no answer: the connection broke
	}
	var broken *net.OpError
	if errors.As(err, &broken) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true // half an answer
	}
	var response *smithyhttp.ResponseError
	return errors.As(err, &response) && response.HTTPStatusCode() >= http.StatusInternalServerError
}

// Code is AWS's word for an error; empty for what AWS did not say.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// Is tells whether AWS answered with one of the codes.
func Is(err error, codes ...string) bool { return slices.Contains(codes, Code(err)) }

// Denied tells whether a right is missing.
func Denied(err error) bool {
	return Is(err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
}

// message is what AWS says, without the SDK's frame around it.
func message(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return &said{api.ErrorCode(), api.ErrorMessage(), err}
	}
	return rootCause(err)
}

// said keeps the chain, for who looks for a code later.
type said struct {
	code, text string
	err        error
}

func (s *said) Error() string {
	if s.text == "" {
		return s.code
	}
	return s.code + ": " + s.text
}
func (s *said) Unwrap() error { return s.err }

// rootCause leaves the SDK's nested sentences out.
func rootCause(err error) error {
	var sent *smithyhttp.RequestSendError
	var op *smithy.OperationError
	switch {
	case errors.As(err, &sent):
		return sent.Err
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// Explain says what failed where, whose problem it is, and what to do.
func (c *Cloud) Explain(region, right string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case right == assume && Code(err) != "":
		return fault.Errorf(fault.Environment, "the role cannot be assumed by this job: %w; compare the role's trust policy with README.md, above all its sub and its audience %s", message(err), Audience)
	case Denied(err):
		return fault.Errorf(fault.Environment, "%s: the right %s is missing for %s: %w; imagebuild policy prints all that the template needs", region, right, c.who(), message(err))
	case Is(err, "ExpiredToken", "ExpiredTokenException", "RequestExpired"):
		return fault.Errorf(fault.Environment, "%s: %s: the AWS session is over: %w; log in again, or use the input aws-role, which renews it", region, right, message(err))
	case Is(err, "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException"):
		return fault.Errorf(fault.Environment, "%s: %s: AWS does not accept the credentials: %w; check the key, this machine's clock, and that the account has the region %s switched on", region, right, message(err), region)
	case Code(err) == "":
		return fault.Errorf(fault.Remote, "%s: %s: %w; check the region's name and the network", region, right, rootCause(err))
	}
	return fault.Errorf(fault.Remote, "%s: %s: %w", region, right, message(err))
}

func (c *Cloud) who() string {
	if c.Caller == "" {
		return "these credentials"
	}
	return c.Caller
}

// Poll calls look until it says that it is done, waiting longer each time. It
// gives up after limit, with the words of what was waited for.
func (c *Cloud) Poll(ctx context.Context, limit time.Duration, what string, look func(context.Context) (done bool, err error)) error {
	deadline := time.Now().Add(limit)
	wait := c.Limits.Poll
	for {
		done, err := look(ctx)
		if done || err != nil {
			return err
		}
		if time.Now().Add(wait).After(deadline) {
			return fault.Errorf(fault.Remote, "%s: not within %s; run the build again, which goes on from here, or look at AWS's health page", what, limit)
		}
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, c.Limits.MaxPoll)
	}
}
