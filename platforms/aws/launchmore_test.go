package aws

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/fault"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/undo"
)

// dieLaunching launches until a fault, and takes nothing back: as a killed run
// would.
func (r *trial) dieLaunching(fault awstest.Fault) {
	r.t.Helper()
	r.server.Fail(fault)
	before := r.edit
	r.edit = func(l *target.Launch) {
		if before != nil {
			before(l)
		}
		l.Undo = func(string, func(context.Context) error) {}
	}
	// The journal is ended as if nothing were left, which is as good as gone.
	if _, err, _ := r.launch(r.t.Context()); err == nil {
		r.t.Fatalf("%+v did not happen", fault)
	}
	r.edit = before
	r.server.Heal()
	settle(r.t, r.server)
}

// Without a journal, as after a job whose machine is gone, the tags tell; what
// is young is left alone, and who has no right to look at instances is told.
func TestStrayMachinesAreFoundByTheirTags(t *testing.T) {
	for name, operation := range map[string]string{
		"a key alone": "CreateSecurityGroup", "a key and a group": "AuthorizeSecurityGroupIngress", "an instance": "StopInstances", "a stopped instance": "CreateImage", "an image": "CopyImage",
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newLaunch(t, awstest.Options{Lag: 1})
			r.dieLaunching(awstest.Fault{Operation: operation, Nth: 2, Times: -1, Effect: awstest.Refuse}) // the first asks whether we may
			before := r.server.Resources()
			if len(before) == 0 {
				t.Fatal("nothing is left")
			}
			if removed, err := r.collect(t.Context()); err != nil || len(removed) != 0 || !slices.Equal(r.server.Resources(), before) {
				t.Errorf("gc took %v from a run that may be at work, %v", removed, err)
			}
			r.olderThan = -60 // tags have seconds, and the clock goes on
			removed, err := r.collect(t.Context())
			if left := r.server.Resources(); err != nil || len(left) != 0 || len(removed) == 0 {
				t.Errorf("removed %v, left %q, %v", removed, left, err)
			}
		})
	}
}

// What a run made and did not prove, the next one proves and goes on with.
func TestLaunchIsFinishedByAnother(t *testing.T) {
	r, _ := newLaunch(t, awstest.Options{Lag: 1})
	r.dieLaunching(awstest.Fault{Operation: "CopyImage", Nth: 2, Times: -1, Effect: awstest.Refuse})
	r.mustLaunch()
	if n := r.server.Count("CreateImage"); n != 1 {
		t.Errorf("%d images were made", n)
	}
	images := r.server.Images()
	if len(images) != 2 || slices.ContainsFunc(images, func(i awstest.Image) bool { return i.Tags[tagState] != stateDone }) {
		t.Errorf("%+v", images)
	}
	r.olderThan = -60
	if _, err := r.collect(t.Context()); err != nil || len(r.server.Images()) != 2 || len(machinesOf(r.server.Resources())) != 0 {
		t.Errorf("after gc: %q, %v", r.server.Resources(), err)
	}
}

// The newest of several is the source; another one than before makes another
// image, and the account of an id is the one of its name.
func TestOrigin(t *testing.T) {
	r, _ := newLaunch(t, awstest.Options{})
	p := r.platform()
	first, err := p.Origin(t.Context(), target.Launch{Publication: r.publication(&undo.Stack{}, nil), Source: r.source})
	if err != nil || first.Name != vendorName || first.Created.IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	newer := r.server.Seed(awstest.Seed{Name: "debian-12-amd64-20260202-1", Owner: vendor, Disk: r.disk})
	r.server.Seed(awstest.Seed{Name: "debian-12-amd64-20260303-1", Owner: "999999999999", Disk: r.disk}) // a stranger's of a fitting name
	second, err := p.Origin(t.Context(), target.Launch{Publication: r.publication(&undo.Stack{}, nil), Source: r.source})
	if err != nil || second.ID != newer {
		t.Errorf("%+v, %v", second, err)
	}
	for name, want := range map[string]string{
		vendorName: "admin", "ubuntu/images/hvm-ssd/ubuntu-noble-24.04-amd64-server-20260101": "ubuntu", "al2023-ami-2023.6.20260101.0-kernel-6.1-x86_64": "ec2-user",
		"Fedora-Cloud-Base-AmazonEC2.x86_64-43": "fedora", "Rocky-9-EC2-Base-9.5": "rocky", "": "ec2-user",
	} {
		if got := userOf(vendorSource(), name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// In a subnet of the account's own, by the private address.
func TestLaunchPrivately(t *testing.T) {
	r, _ := newLaunch(t, awstest.Options{Lag: 1, NoDefaultVPC: true})
	var subnet string
	// The first subnet is one of the network that is the account's own.
	cloud, err := r.platform().open(t.Context(), target.Access{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := cloud.EC2("eu-west-1").DescribeSubnets(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	subnet = *out.Subnets[0].SubnetId
	r.source.Subnet, r.source.Private, r.source.User, r.source.InstanceType = subnet, true, "root", "m6i.large"
	r.config.Encrypted, r.config.VolumeSize = true, 12<<30
	r.mustLaunch()
	instances := r.server.Instances()
	if len(instances) != 2 || instances[0].Subnet != subnet || instances[0].Type != "m6i.large" {
		t.Errorf("%+v", instances)
	}
	for _, each := range r.server.Images() {
		if !each.Encrypted {
			t.Errorf("%s is not encrypted", each.ID)
		}
	}
}

func TestAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		status int
		want   string // the address, or a part of the error
	}{
		"ours":       {"198.51.100.7\n", 200, "198.51.100.7"},
		"private":    {"10.0.0.1\n", 200, "no address on the internet"},
		"IPv6":       {"2001:db8::1\n", 200, "no address on the internet"},
		"a page":     {"<html>" + strings.Repeat("x", 1000), 200, "its answer is no address"},
		"an error":   {"", 503, "503 Service Unavailable"},
		"everywhere": {"0.0.0.0", 200, "no address on the internet"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.answer))
			}))
			defer server.Close()
			p := New("aws", NewConfig())
			p.AddressURL = server.URL
			got, err := p.allowed(t.Context(), amisource.New())
			if err == nil && (len(got) != 1 || got[0].String() != tc.want+"/32") || err != nil && (!strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "source.ami.allow") || fault.KindOf(err) != fault.Environment) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// Changes are allowed to what carries our tag alone.
func TestLaunchPolicy(t *testing.T) {
	c := NewConfig()
	c.Region = "eu-west-1"
	text, err := New("aws", c).LaunchPolicy(vendorSource())
	if err != nil {
		t.Fatal(err)
	}
	var policy struct{ Statement []statement }
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	where := map[string][]string{}
	for _, each := range policy.Statement {
		for _, action := range each.Action {
			where[action] = append(where[action], each.Sid)
			if each.Sid == "ChangeWhatIsOurs" && each.Condition == nil {
				t.Errorf("%s may change what is not ours", action)
			}
		}
	}
	for _, r := range c.launchRights(vendorSource()) {
		if len(where[r.action]) == 0 {
			t.Errorf("%s is missing", r.action)
		}
	}
	for _, action := range []string{"ec2:TerminateInstances", "ec2:StopInstances", "ec2:DeleteSecurityGroup", "ec2:DeleteKeyPair", "ec2:AuthorizeSecurityGroupIngress", "ec2:GetConsoleOutput"} {
		if !slices.Equal(where[action], []string{"ChangeWhatIsOurs", "AskBeforehand"}) {
			t.Errorf("%s is allowed by %q", action, where[action])
		}
	}
}
