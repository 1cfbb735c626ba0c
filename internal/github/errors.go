package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/org/imagebuild-action/internal/fault"
)

// Error is a call that failed.
type Error struct {
	Op      string // what was tried: "create release v1.0.0"
	Method  string
	URL     string // without query and credentials
	Status  int    // zero if there was no answer
	Message string // GitHub's, or the transport's
	Codes   []string
	Remedy  string
	RetryAt time.Time // when a rate limit ends; zero otherwise
	// Unknown says that the call may have taken effect all the same.
	Unknown bool

	cause error
}

// Error names operation, request, cause and remedy.
func (e *Error) Error() string {
	text := e.Op + ": "
	if e.Method != "" {
		text += e.Method + " " + e.URL + ": "
	}
	if e.Status != 0 {
		text += fmt.Sprintf("%d ", e.Status)
	}
	text += e.Message
	if e.Unknown {
		text += " (it may have taken effect)"
	}
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Unwrap returns the cause, such as a context's end.
func (e *Error) Unwrap() error { return e.cause }

// IsNotFound says whether there is no such thing, or none that the token sees.
func IsNotFound(err error) bool { return statusOf(err) == http.StatusNotFound }

// AlreadyExists says whether something of that name is there.
func AlreadyExists(err error) bool {
	var failed *Error
	if !errors.As(err, &failed) {
		return false
	}
	for _, code := range failed.Codes {
		if code == "already_exists" {
			return true
		}
	}
	return false
}

// OutcomeUnknown says whether a call may have taken effect although it failed.
func OutcomeUnknown(err error) bool {
	var failed *Error
	return errors.As(err, &failed) && failed.Unknown
}

// Temporary says whether the same call may succeed later: no answer, a
// server's error or a rate limit.
func Temporary(err error) bool {
	var failed *Error
	if !errors.As(err, &failed) || fault.KindOf(err) != fault.Remote {
		return false
	}
	return failed.Status == 0 || failed.Status >= 500 || !failed.RetryAt.IsZero()
}

func statusOf(err error) int {
	var failed *Error
	if errors.As(err, &failed) {
		return failed.Status
	}
	return 0
}

// failure makes an Error, with the kind of fault, of what go-github returned.
func (c *Client) failure(ctx context.Context, e *exchange, err error) error {
	if err == nil {
		return nil
	}
	failed := &Error{Op: e.op, Method: e.method, URL: e.url, Unknown: e.unknown, cause: unwrapURL(err)}
	if e.limited {
		failed.RetryAt = e.retryAt
	}
	var response *gogithub.ErrorResponse
	var abuse *gogithub.AbuseRateLimitError
	var limit *gogithub.RateLimitError
	switch {
	case errors.As(err, &response) && response.Response != nil:
		failed.Status, failed.Message, failed.cause = response.Response.StatusCode, response.Message, nil
		for _, each := range response.Errors {
			failed.Codes = append(failed.Codes, each.Code)
			failed.Message += strings.TrimRight(": "+strings.TrimSpace(each.Field+" "+each.Code+" "+each.Message), ": ")
		}
	case errors.As(err, &abuse) && abuse.Response != nil:
		failed.Status, failed.Message, failed.cause = abuse.Response.StatusCode, abuse.Message, nil
	case errors.As(err, &limit) && limit.Response != nil:
		failed.Status, failed.Message, failed.cause = limit.Response.StatusCode, limit.Message, nil
	default:
		failed.Message = failed.cause.Error()
	}
	failed.Message = c.clean(failed.Message)
	if failed.Message == "" {
		failed.Message = http.StatusText(failed.Status)
	}
	if failed.cause != nil {
		failed.cause = &masked{failed.Message, failed.cause}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		failed.cause = errors.Join(failed.cause, context.Canceled)
		return failed // KindOf calls it Cancelled
	}
	kind := fault.Remote
	failed.Remedy, kind = c.remedy(failed, kind)
	return fault.Wrap(kind, failed)
}

// remedy says what its reader can do, and whose problem it is.
func (c *Client) remedy(e *Error, kind fault.Kind) (string, fault.Kind) {
	const grant = "give the job `permissions: {contents: write}`; a pull request from a fork never gets that"
	const workflows = "the token may not write here, or the commit changes files in .github/workflows, which a job's token may not release: " +
		"tag a commit that does not, or pass a token that may change workflows"
	creates := e.Method == http.MethodPost && strings.HasSuffix(e.URL, "/releases")
	switch {
	case !e.RetryAt.IsZero():
		return "the rate limit ends at " + e.RetryAt.UTC().Format(time.RFC3339) + ": try again then", kind
	case e.Status == http.StatusUnauthorized && c.opts.Token == "":
		return "pass a token: github-token: ${{ github.token }}", fault.Input
	case e.Status == http.StatusUnauthorized:
		return "the token is wrong or has expired: pass the job's own, github-token: ${{ github.token }}", fault.Input
	case e.Status == http.StatusForbidden && creates:
		return grant + "; if it has it, " + workflows, fault.Input
	case e.Status == http.StatusForbidden && strings.Contains(e.Message, "personal access token"):
		return "give the token Contents: read and write for " + c.opts.Repository, fault.Input
	case e.Status == http.StatusForbidden && strings.Contains(e.Message, "not accessible"):
		return grant, fault.Input
	case e.Status == http.StatusForbidden:
		return "", fault.Input
	case e.Status == http.StatusNotFound && creates:
		return workflows, fault.Input
	case e.Status == http.StatusNotFound:
		return "it is not there, or the token may not see it", fault.Input
	case e.Status == http.StatusUnprocessableEntity && !AlreadyExists(e):
		return "", fault.Input
	}
	return "", kind
}

// clean makes foreign text fit for an error: one line, no control characters,
// no secret, no end of it that nobody reads.
func (c *Client) clean(text string) string {
	text = strings.Join(strings.FieldsFunc(c.secrets.String(text), func(r rune) bool { return unicode.IsControl(r) || r == ' ' }), " ")
	if runes := []rune(text); len(runes) > 600 {
		text = string(runes[:600]) + " ..."
	}
	return text
}

// masked keeps a cause's identity and not its text.
type masked struct {
	text  string
	cause error
}

func (m *masked) Error() string { return m.text }
func (m *masked) Unwrap() error { return m.cause }

// unwrapURL drops net/http's own prefix of method and URL, whose query may
// hold a signature.
func unwrapURL(err error) error {
	for {
		var outer *url.Error
		if !errors.As(err, &outer) {
			return err
		}
		err = outer.Err
	}
}

func plainURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
