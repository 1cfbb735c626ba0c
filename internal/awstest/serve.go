package awstest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/awstest/model"
)

type object = model.Object

// call is one request in progress.
type call struct {
	number  int
	service *model.Service
	op      *model.Operation
	region  *region
	in      object
	arn     string // who calls

	stillborn bool // what it makes shall fail later
}

// failure is an error that a service answers with.
type failure struct {
	status  int // zero: as the model has it
	code    string
	message string
	details map[string]string
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func refuse(status int, code, format string, args ...any) *failure {
	return &failure{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// because gives the reason that some of a service's errors carry.
func (f *failure) because(reason string) *failure {
	f.details = map[string]string{"Reason": reason}
	return f
}

// maxBody bounds a request: a block is the largest.
const maxBody = 1 << 20

// handlers are the operations; each is called with the server locked.
var handlers = map[string]func(*Server, *call) (object, *failure){
	"StartSnapshot": (*Server).startSnapshot, "PutSnapshotBlock": (*Server).putBlock, "CompleteSnapshot": (*Server).completeSnapshot,
	"ListSnapshotBlocks": (*Server).listBlocks, "GetSnapshotBlock": (*Server).getBlock,
	"DescribeSnapshots": (*Server).describeSnapshots, "DeleteSnapshot": (*Server).deleteSnapshot,
	"DescribeImages": (*Server).describeImages, "RegisterImage": (*Server).registerImage, "CopyImage": (*Server).copyImage, "DeregisterImage": (*Server).deregisterImage,
	"CreateTags": (*Server).createTags, "ModifyImageAttribute": (*Server).modifyImage, "DescribeImageAttribute": (*Server).describeAttribute,
	"EnableImageDeprecation": (*Server).deprecate, "EnableImageDeregistrationProtection": (*Server).protect, "DisableImageDeregistrationProtection": (*Server).unprotect,
	"GetImageBlockPublicAccessState": (*Server).blockPublicAccess, "GetEbsEncryptionByDefault": (*Server).encryptionByDefault, "DescribeRegions": (*Server).describeRegions,
	"PutParameter": (*Server).putParameter, "GetParameter": (*Server).getParameter, "DeleteParameter": (*Server).deleteParameter, "AddTagsToResource": (*Server).tagParameter,
	"RunInstances": (*Server).runInstances, "DescribeInstances": (*Server).describeInstances, "StopInstances": (*Server).stopInstances, "TerminateInstances": (*Server).terminateInstances,
	"CreateImage": (*Server).createImage, "GetConsoleOutput": (*Server).consoleOutput, "DescribeVolumes": (*Server).describeVolumes, "DeleteVolume": (*Server).deleteVolume,
	"ImportKeyPair": (*Server).importKeyPair, "DescribeKeyPairs": (*Server).describeKeyPairs, "DeleteKeyPair": (*Server).deleteKeyPair,
	"CreateSecurityGroup": (*Server).createGroup, "DescribeSecurityGroups": (*Server).describeGroups, "AuthorizeSecurityGroupIngress": (*Server).authorizeIngress, "DeleteSecurityGroup": (*Server).deleteGroup,
	"DescribeVpcs": (*Server).describeVPCs, "DescribeSubnets": (*Server).describeSubnets,
	"GetCallerIdentity": (*Server).callerIdentity, "AssumeRoleWithWebIdentity": (*Server).assumeRole,
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.busy.Add(1)
	defer s.busy.Add(-1)
	if r.URL.Path == tokenPath {
		s.serveToken(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return // the client has gone, or sends what no client of ours would
	}
	signer, err := s.whose(r, body)
	if err != nil {
		s.violate("%s %s: %v", r.Method, r.URL.Path, err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	service := model.Services()[signer.service]
	op, in, err := service.Request(r, body)
	if err != nil {
		name := ""
		if op != nil {
			name = op.Name
		}
		s.violate("%s %s: %v", signer.service, name, err)
		s.answerError(w, &call{service: service}, refuse(http.StatusBadRequest, "InvalidParameterValue", "%v", err))
		return
	}
	c := &call{service: service, op: op, in: in, arn: signer.arn}
	s.serve(w, r, c, signer)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, c *call, by identity) {
	s.mu.Lock()
	c.number = len(s.calls) + 1
	entry := Call{Number: c.number, Service: c.service.Name, Region: by.region, Operation: c.op.Name, DryRun: truth(c.in["DryRun"])}
	fault := s.choose(entry)
	if fault != nil {
		entry.Fault = fault.Effect
	}
	s.calls = append(s.calls, entry)
	if fault != nil && fault.Then != nil {
		defer fault.Then()
	}
	c.stillborn = fault != nil && fault.Effect == Stillborn
	if fault != nil && (fault.Effect == Pass || c.stillborn) {
		fault = nil
	}
	if fault != nil && !fault.After {
		s.mu.Unlock()
		s.fail(w, r, c, fault)
		return
	}
	out, refused := s.handle(c, by)
	s.mu.Unlock()
	switch {
	case fault != nil:
		s.fail(w, r, c, fault)
	case refused != nil:
		s.answerError(w, c, refused)
	default:
		s.answer(w, c, out)
	}
}

// handle is called with the lock held.
func (s *Server) handle(c *call, by identity) (object, *failure) {
	if by.refused != nil {
		return nil, by.refused
	}
	c.region = s.regions[by.region]
	if c.region == nil && by.region != "" { // only what is not signed has none
		return nil, refuse(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")
	}
	if right := c.service.Name + ":" + c.op.Name; c.denied(s.opts.Deny, right) {
		return nil, c.unauthorized(right)
	}
	if truth(c.in["DryRun"]) {
		return nil, refuse(http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	if s.throttled(c.op.Name) {
		return nil, c.throttling()
	}
	return handlers[c.op.Name](s, c)
}

func (c *call) denied(deny []string, right string) bool {
	return slices.Contains(deny, right) || c.region != nil && slices.Contains(deny, right+"@"+c.region.name)
}

func (c *call) unauthorized(right string) *failure {
	text := fmt.Sprintf("User: %s is not authorized to perform: %s", c.arn, right)
	if c.service.Name == "ec2" {
		return refuse(http.StatusForbidden, "UnauthorizedOperation", "You are not authorized to perform this operation. %s", text)
	}
	f := refuse(http.StatusForbidden, "AccessDeniedException", "%s", text)
	if c.service.Name == "ebs" {
		return f.because("UNAUTHORIZED_ACCOUNT")
	}
	return f
}

func (s *Server) answer(w http.ResponseWriter, c *call, out object) {
	header, body, err := c.service.Response(c.op, out, requestID(c.number))
	if err != nil {
		s.violate("our own answer: %s: %v", c.op.Name, err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	status := c.op.HTTP.Status
	if status == 0 {
		status = http.StatusOK
	}
	send(w, header, status, body)
}

// generic are the errors that come from in front of a service, or, in SSM's
// case, are part of every API of its kind: no model lists them.
var generic = []string{"AccessDenied", "AccessDeniedException", "ThrottlingException", "ValidationException", "ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException", "Throttling", "InternalFailure", "InternalServerError"}

func (s *Server) answerError(w http.ResponseWriter, c *call, f *failure) {
	s.mu.Lock()
	if c.number > 0 {
		s.calls[c.number-1].Error = f.code
	}
	s.mu.Unlock()
	op, status := c.op, f.status
	if slices.Contains(generic, f.code) && f.details == nil {
		op = nil
	}
	if op != nil {
		if modelled, ok := c.service.MayFail(op, f.code); ok && modelled != 0 && status == 0 {
			status = modelled
		}
	}
	header, body, err := c.service.Failure(op, f.code, f.message, requestID(c.number), f.details)
	if err != nil {
		s.violate("our own answer: %v", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if status == 0 {
		status = http.StatusBadRequest
	}
	send(w, header, status, body)
}

func send(w http.ResponseWriter, header http.Header, status int, body []byte) {
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have gone
}

func requestID(number int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", number) }

// violate notes what the real AWS would not have understood, or said.
func (s *Server) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.violations = append(s.violations, text)
	s.mu.Unlock()
	select {
	case <-s.done: // the test is over
	default:
		s.t.Errorf("awstest: %s", text)
	}
}

// newID is called with the lock held.
func (s *Server) newID(kind string) string {
	s.next++
	return fmt.Sprintf("%s-%017x", kind, 0xabc000000+s.next)
}

// Values of an Object that may be missing.

func truth(v any) bool { b, _ := v.(bool); return b }

func text(v any) string { t, _ := v.(string); return t }

func number(v any) int64 { n, _ := v.(int64); return n }

func list(v any) []any { l, _ := v.([]any); return l }

func part(v any) object { o, _ := v.(object); return o }

func texts(v any) []string {
	var out []string
	for _, each := range list(v) {
		out = append(out, text(each))
	}
	return out
}

// arn names something of the account's.
func arn(service, region, resource string) string {
	return strings.Join([]string{"arn:aws", service, region, Account, resource}, ":")
}

var errSignature = errors.New("the signature is not the one that the key makes")
