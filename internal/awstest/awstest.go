// Package awstest is an AWS that runs on loopback for tests: EC2's images,
// snapshots and instances, EBS direct, SSM's parameters and STS, in as many regions as a test
// wants, with the habits of the real one that break naive clients. What was
// just made does not exist yet; a digest that does not fit is refused; calls
// are throttled, answered with 500 or not at all; a name is taken, a right
// missing.
//
//	server := awstest.New(t, awstest.Options{Lag: 2})
//	server.Fail(awstest.Fault{Operation: "PutSnapshotBlock", Nth: 3, Effect: awstest.Hang})
//	... run a client with server.Environ() ...
//	left := server.Resources()
//
// Every request and every answer goes through AWS's published service models
// (package model), and every signature is computed again. What the models do
// not have is refused and fails the test. The server refuses every operation that
// is not served, buckets among them.
//
// Instances exist in name only, unless Options have a Hypervisor: then each has
// a disk made of its AMI's snapshot. They are never started again, have one disk
// and one network card, and are no spot instances; CreateImage restarts none.
//
// Only tests use it. It does not import package testing, so that a program can
// serve it to others.
package awstest

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// T is what a server needs of a *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// Account is whose cloud it is.
const Account = "111122223333"

// The key that signs; a request signed with another is refused.
const (
	AccessKey = "AKIAIMAGEBUILDTEST00"
	SecretKey = "not-a-secret-only-loopback-knows-it"
)

// Options say what the cloud is like. The zero value is fast, consistent and
// willing.
type Options struct {
	Regions []string // three unless set
	// Lag is how often a thing that was just made is asked for in vain, and
	// how often it is seen as pending after that.
	Lag int
	// PutsPerSecond throttles PutSnapshotBlock; zero does not.
	PutsPerSecond float64
	// Chaos breaks a part of the calls.
	Chaos []Chaos
	// Deny lists rights that the caller does not have: "ec2:CopyImage", or
	// "ec2:CopyImage@eu-west-1" in one region.
	Deny []string
	// ExpiredToken answers every call as if the session were over.
	ExpiredToken bool
	// BlockPublicAccess is the account's setting in all regions.
	BlockPublicAccess bool
	// EncryptByDefault is the account's setting in all regions.
	EncryptByDefault bool
	// Quota is how many snapshots can be pending in a region; 100 unless set.
	Quota int
	// Discard keeps the digests of blocks and not their content.
	Discard bool
	// RoleARN is the role that a web identity may assume, from TokenURL's
	// tokens.
	RoleARN string
	// Page is how many things one answer lists; 1000 unless set. There are more
	// pages then, whether the client asks for them or not.
	Page int
	// NoDefaultVPC leaves the network without a public address alone in all
	// regions.
	NoDefaultVPC bool
	// Hypervisor is what instances run on; nil: they exist in name only.
	Hypervisor Hypervisor
	// Now is the server's clock; time.Now unless set.
	Now func() time.Time
}

// Server is the running cloud. It is safe for concurrent use.
type Server struct {
	t    T
	opts Options
	http *httptest.Server
	dir  string
	done chan struct{} // closed when the test ends, so that nothing hangs on
	busy atomic.Int32  // requests that are being dealt with

	life    context.Context // of guests
	endLife context.CancelFunc
	jobs    sync.WaitGroup // what goes on behind answers

	mu         sync.Mutex
	calls      []Call
	scripts    []*script
	violations []string
	regions    map[string]*region
	next       int       // number of the next id
	allowance  float64   // puts that may happen now
	refilled   time.Time // when the allowance was computed
	sessions   map[string]string
	ingress    []string // rules of security groups, in the order of their making
}

// region is what exists in one place.
type region struct {
	name       string
	images     map[string]*machineImage
	snapshots  map[string]*snapshot
	parameters map[string]*parameter
	instances  map[string]*instance
	volumes    map[string]*volume
	keyPairs   map[string]*keyPair // by name
	groups     map[string]*group
	vpcs       map[string]*vpc
	subnets    map[string]*subnet
	tokens     map[string]string // client token to what it made
}

// New starts a cloud that ends with the test.
func New(t T, opts Options) *Server {
	t.Helper()
	if len(opts.Regions) == 0 {
		opts.Regions = []string{"eu-west-1", "us-east-1", "ap-southeast-2"}
	}
	if opts.Quota == 0 {
		opts.Quota = 100
	}
	if opts.Page == 0 {
		opts.Page = 1000
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Server{
		t: t, opts: opts, dir: t.TempDir(), done: make(chan struct{}),
		regions: map[string]*region{}, refilled: opts.Now(), sessions: map[string]string{},
	}
	s.life, s.endLife = context.WithCancel(context.Background())
	for _, name := range opts.Regions {
		s.regions[name] = &region{
			name: name, images: map[string]*machineImage{}, snapshots: map[string]*snapshot{},
			parameters: map[string]*parameter{}, tokens: map[string]string{}, instances: map[string]*instance{}, volumes: map[string]*volume{},
			keyPairs: map[string]*keyPair{}, groups: map[string]*group{}, vpcs: map[string]*vpc{}, subnets: map[string]*subnet{},
		}
		s.lay(s.regions[name])
	}
	s.http = httptest.NewServer(s)
	t.Cleanup(func() {
		close(s.done)
		s.http.CloseClientConnections()
		s.http.Close()
		s.endAll()
		s.closeFiles()
	})
	return s
}

// URL is the endpoint of every service in every region: a request's signature
// says which it is for.
func (s *Server) URL() string { return s.http.URL }

// Environ is what a client's environment has of AWS, as its own tools read it.
func (s *Server) Environ() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + s.URL(), "AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=",
	}
}

// Client is the environment of a program that shall use this cloud: that of
// base, without anything else of AWS.
func (s *Server) Client(base []string) []string {
	clean := slices.DeleteFunc(slices.Clone(base), func(each string) bool { return strings.HasPrefix(each, "AWS_") })
	return append(clean, s.Environ()...)
}

// Setenv makes this process a client, until the test ends.
func (s *Server) Setenv(t interface{ Setenv(name, value string) }, base []string) {
	for _, each := range base {
		if name, _, _ := strings.Cut(each, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for _, each := range s.Environ() {
		name, value, _ := strings.Cut(each, "=")
		t.Setenv(name, value)
	}
}
