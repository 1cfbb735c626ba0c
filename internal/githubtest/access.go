package githubtest

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// Access is what a token may do.
type Access string

// The kinds of token there are.
const (
	// Write is a job's token with `permissions: {contents: write}`.
	Write Access = "write"
	// Read is what a pull request from a fork gets: reading only.
	Read Access = "read"
	// Metadata sees that the repository is there, and nothing in it.
	Metadata Access = "metadata"
	// Person is a user's own token, with the right to push.
	Person Access = "person"
	// PersonRead is a user's token without contents: write, of a user who
	// could push. The repository's "permissions" then speak of the user.
	PersonRead Access = "person-read"
	// anonymous sends no token, bad one that nobody was given.
	anonymous Access = "anonymous"
	bad       Access = "bad"
)

// Token returns the token with these rights.
func (s *Server) Token(access Access) string { return "ghs_" + string(access) + "Z2l0aHVidGVzdA" }

func (s *Server) access(r *http.Request) Access {
	header := r.Header.Get("Authorization")
	if header == "" {
		return anonymous
	}
	scheme, token, _ := strings.Cut(header, " ")
	if strings.EqualFold(scheme, "basic") { // as the credential of a git client
		plain, _ := base64.StdEncoding.DecodeString(token)
		_, token, _ = strings.Cut(string(plain), ":")
	}
	for _, each := range []Access{Write, Read, Metadata, Person, PersonRead} {
		if token == s.Token(each) {
			return each
		}
	}
	return bad
}

func (a Access) canPush() bool { return a == Write || a == Person }
func (a Access) isJob() bool   { return a == Write || a == Read || a == Metadata }

// permissions are the repository's as this token is told them. An app's token,
// which a job's is, is told nothing useful; a person's speak of the person, whatever
// the token itself may do.
func (a Access) permissions() object {
	push := a == Person || a == PersonRead
	return object{"admin": false, "maintain": false, "push": push, "triage": push, "pull": !a.isJob()}
}

// refuse answers a request that the token has no right for, or nil.
func (s *Server) refuse(a Access, op *operation) *reply {
	needsPush := op.method != http.MethodGet
	switch {
	case a == bad:
		return failure(http.StatusUnauthorized, "Bad credentials")
	case a == anonymous && s.opts.Private:
		return failure(http.StatusNotFound, "Not Found")
	case a == anonymous && needsPush:
		return failure(http.StatusUnauthorized, "Requires authentication")
	case a.isJob() && needsPush && a != Write, a == Metadata && op.path != "/repos/{owner}/{repo}":
		return failure(http.StatusForbidden, "Resource not accessible by integration")
	case a == PersonRead && needsPush:
		return failure(http.StatusForbidden, "Resource not accessible by personal access token")
	}
	return nil
}
