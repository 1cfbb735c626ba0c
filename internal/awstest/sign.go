package awstest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/org/imagebuild-action/internal/awstest/model"
)

// identity is who signed a request, and for which service and region.
type identity struct {
	service, region, arn string
	refused              *failure // the key is not ours, or no longer
}

// whose reads and checks the signature (Signature Version 4, in the header).
func (s *Server) whose(r *http.Request, body []byte) (identity, error) {
	auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") == "AssumeRoleWithWebIdentity" {
			return identity{service: "sts"}, nil
		}
		return identity{}, fmt.Errorf("the request is not signed")
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(auth, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" || model.Services()[scope[3]] == nil {
		return identity{}, fmt.Errorf("the credential scope %q is of no service here", fields["Credential"])
	}
	who := identity{service: scope[3], region: scope[2], arn: arn("iam", "", "user/tester")}
	credentials := aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey}
	s.mu.Lock()
	token, session := s.sessions[scope[0]]
	s.mu.Unlock()
	switch {
	case session:
		credentials = aws.Credentials{AccessKeyID: scope[0], SecretAccessKey: SecretKey, SessionToken: token}
		who.arn = arn("sts", "", "assumed-role/images/imagebuild")
	case scope[0] != AccessKey:
		who.refused = badKey(who.service)
		return who, nil
	}
	if s.opts.ExpiredToken {
		who.refused = expired(who.service)
	}
	signed := strings.Split(fields["SignedHeaders"], ";")
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if sum := sha256.Sum256(body); hash == "" {
		hash = hex.EncodeToString(sum[:])
	} else if hash != "UNSIGNED-PAYLOAD" && hash != hex.EncodeToString(sum[:]) {
		return who, fmt.Errorf("the body is not the one that was signed")
	}
	if hash == "UNSIGNED-PAYLOAD" && r.Method != http.MethodPut {
		return who, fmt.Errorf("a body must be signed, but for a block's")
	}
	again, err := resign(r, signed, credentials, hash, who)
	if err != nil {
		return who, err
	}
	if !strings.HasSuffix(again, "Signature="+fields["Signature"]) {
		return who, errSignature
	}
	return who, nil
}

// resign signs a copy of the request that has the signed headers alone.
func resign(r *http.Request, signed []string, credentials aws.Credentials, hash string, who identity) (string, error) {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return "", err
	}
	bare := &http.Request{Method: r.Method, URL: &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}, Host: r.Host, Header: http.Header{}}
	for _, name := range signed {
		if name == "content-length" {
			bare.ContentLength = r.ContentLength
		} else if values := r.Header.Values(name); len(values) > 0 && name != "x-amz-date" {
			bare.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if err := v4.NewSigner().SignHTTP(context.Background(), credentials, bare, hash, who.service, who.region, at); err != nil {
		return "", err
	}
	return bare.Header.Get("Authorization"), nil
}

func badKey(service string) *failure {
	switch service {
	case "ec2":
		return refuse(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")
	case "sts":
		return refuse(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	return refuse(http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid.")
}

func expired(service string) *failure {
	switch service {
	case "ec2":
		return refuse(http.StatusBadRequest, "RequestExpired", "Request has expired.")
	case "sts":
		return refuse(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
	}
	return refuse(http.StatusForbidden, "ExpiredTokenException", "The security token included in the request is expired")
}

// A GitHub that hands out OIDC tokens.

const tokenPath = "/oidc/token"

// TokenURL is what ACTIONS_ID_TOKEN_REQUEST_URL is in a job.
func (s *Server) TokenURL() string { return s.URL() + tokenPath + "?api-version=2.0" }

// TokenSecret is what ACTIONS_ID_TOKEN_REQUEST_TOKEN is in a job.
const TokenSecret = "loopback-id-token-request"

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.EqualFold(r.Header.Get("Authorization"), "bearer "+TokenSecret) || r.URL.Query().Get("api-version") != "2.0" {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"value": s.token(r.URL.Query().Get("audience"))}) // the client may have gone
}

// IDToken is a token for an audience, as GitHub would hand it out.
func (s *Server) IDToken(_ context.Context, audience string) (string, error) {
	return s.token(audience), nil
}

func (s *Server) token(audience string) string {
	claims, _ := json.Marshal(map[string]any{"aud": audience, "sub": "repo:octo/images:ref:refs/tags/v1.2.3", "exp": s.opts.Now().Add(5 * time.Minute).Unix()}) // plain values
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(claims) + "." + encode([]byte("loopback"))
}

// assumeRole hands out a session for a token of ours.
func (s *Server) assumeRole(c *call) (object, *failure) {
	role := text(c.in["RoleArn"])
	parts := strings.Split(text(c.in["WebIdentityToken"]), ".")
	var claims struct {
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
	}
	if len(parts) != 3 {
		return nil, refuse(0, "InvalidIdentityTokenException", "The ID Token provided is not a valid JWT.")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return nil, refuse(0, "InvalidIdentityTokenException", "The ID Token provided is not a valid JWT.")
	}
	switch {
	case claims.Audience != "sts.amazonaws.com":
		return nil, refuse(http.StatusBadRequest, "InvalidIdentityToken", "Incorrect token audience")
	case role != s.opts.RoleARN:
		return nil, refuse(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	s.next++
	key, token := fmt.Sprintf("ASIAIMAGEBUILD%06d", s.next), fmt.Sprintf("session-%d", s.next)
	s.sessions[key] = token
	return object{
		"Credentials": object{
			"AccessKeyId": key, "SecretAccessKey": SecretKey, "SessionToken": token, "Expiration": s.opts.Now().Add(time.Hour).UTC(),
		},
		"AssumedRoleUser": object{"AssumedRoleId": "AROAIMAGEBUILD0000001:" + text(c.in["RoleSessionName"]), "Arn": arn("sts", "", "assumed-role/images/"+text(c.in["RoleSessionName"]))},
		"Audience":        claims.Audience,
	}, nil
}

func (s *Server) callerIdentity(c *call) (object, *failure) {
	return object{"Account": Account, "Arn": c.arn, "UserId": "AIDAIMAGEBUILD000001"}, nil
}

// Sessions says how many sessions a role was assumed for.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Violations are the messages that AWS's models do not allow; each has failed
// the test already.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}
