package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/undo"
)

const (
	vendor     = "136693071363"
	vendorName = "debian-12-amd64-20260101-1"
)

// newLaunch is a run with a vendor's AMI to start from.
func newLaunch(t testing.TB, o awstest.Options) (*trial, *hosts) {
	t.Helper()
	h := newHosts(t)
	o.Hypervisor = h
	r := newRun(t, o)
	for i, name := range []string{"debian-12-amd64-20250101-1", vendorName, "debian-12-amd64-20251231-9"} {
		r.server.Seed(awstest.Seed{Name: name, Owner: vendor, Disk: r.disk, Created: time.Date(2026, 1, 1-200*(i%2^1)*(i+1), 0, 0, 0, 0, time.UTC)})
	}
	r.source = vendorSource()
	r.source.SSHPort = h.port
	r.config.CopyTo = []string{"us-east-1"}
	return r, h
}

func vendorSource() *amisource.Config {
	c := amisource.New()
	c.Owner, c.Name, c.Allow = vendor, "debian-12-amd64-*", []string{"127.0.0.0/8"}
	return c
}

// job is what the build would ask for.
func (r *trial) job(stack *undo.Stack, j *journal.Journal) target.Launch {
	l := target.Launch{
		Publication: r.publication(stack, j), Source: r.source, Env: []string{"TZ=UTC"}, Seal: "echo seal\n", Image: true, Stays: true,
		Steps: func(ctx context.Context, g guest.Guest, _ report.Task) error {
			if r.steps != nil {
				return r.steps(ctx, g)
			}
			if err := g.Run(ctx, guest.Command{Argv: []string{"make", "it"}}); err != nil {
				return err
			}
			return g.(guest.Rebooter).Reboot(ctx)
		},
		Tests: func(ctx context.Context, g guest.Guest, _ target.Booted, _ report.Task) error {
			return g.Run(ctx, guest.Command{Argv: []string{"prove", "it"}})
		},
	}
	l.DiskBytes = 8 << 30
	if r.edit != nil {
		r.edit(&l)
	}
	return l
}

// launch is a whole run by way of an instance.
func (r *trial) launch(ctx context.Context) (out target.Published, err, undone error) {
	r.t.Helper()
	return r.whole(ctx, func(stack *undo.Stack, j *journal.Journal) (out target.Published, stays bool, err error) {
		l := r.job(stack, j)
		p := r.platform()
		if l.Origin, err = p.Origin(ctx, l); err == nil {
			if err = p.CheckLaunch(ctx, l); err == nil {
				out, err = p.Launch(ctx, l, r.task)
			}
		}
		return out, l.Stays, err
	})
}

func (r *trial) mustLaunch() target.Published {
	r.t.Helper()
	return r.must((*trial).launch)
}

func TestLaunch(t *testing.T) {
	r, h := newLaunch(t, awstest.Options{Lag: 2})
	c := r.config
	c.ShareWith, c.DeprecateAfter, c.SSMParameter, c.Tags = []string{"123456789012"}, 180*day, "/images/golden", map[string]string{"team": "platform"}
	out := r.mustLaunch()
	images := r.server.Images()
	if len(images) != 2 || len(out.Artifacts) != 2 {
		t.Fatalf("%d images, %+v", len(images), out)
	}
	var record Record
	if err := json.Unmarshal(out.Record, &record); err != nil || len(record.Images) != 2 || record.Disk != "" {
		t.Errorf("%v, %s", err, out.Record)
	}
	for _, each := range images {
		if each.Tags["team"] != "platform" || each.Tags[tagState] != stateDone || each.Tags[tagFrom] != record.Source || !slices.Equal(each.Shared, []string{"userId 123456789012"}) {
			t.Errorf("%+v", each)
		}
	}
	if a := out.Artifacts[0]; a.Kind != image.AMI || a.Region != "eu-west-1" || a.SizeBytes != 1<<30 {
		t.Errorf("%+v", a)
	}
	// Of all that was needed only the images are left.
	for _, line := range r.server.Resources() {
		if f := strings.Fields(line); f[1] != "image" && f[1] != "snapshot" && f[1] != "parameter" {
			t.Errorf("left: %s", line)
		}
	}
	instances := r.server.Instances()
	if len(instances) != 2 || instances[0].Type != "t3.small" || instances[0].Image != record.Source || instances[1].Image != record.Images[0].ID {
		t.Fatalf("%+v", instances)
	}
	for _, each := range instances {
		if each.Tags[tagRun] != "test-1" || each.VolumeTags[tagRun] != "test-1" || each.Launched["InstanceInitiatedShutdownBehavior"] != "stop" || each.State != "terminated" {
			t.Errorf("%+v", each)
		}
		if m := h.all[each.ID]; !m.guest.MetadataVersion2 {
			t.Errorf("%s: IMDSv1 is allowed", each.ID)
		}
	}
	if got := h.all[instances[0].ID]; got.sealed != "echo seal\n" || got.boots != 1 || !strings.Contains(strings.Join(got.server.Lines(), "\n"), "sudo -n -- ") {
		t.Errorf("%+v", got)
	}
	if got := strings.Join(h.all[instances[1].ID].server.Lines(), "\n"); !strings.Contains(got, "prove it") || strings.Contains(got, "make it") {
		t.Errorf("the tests' instance was asked: %s", got)
	}
	if in := r.server.Ingress(); len(in) != 1 || !strings.HasSuffix(in[0], fmt.Sprintf(" tcp %d-%d 127.0.0.0/8", h.port, h.port)) {
		t.Errorf("let in: %q", in)
	}
	if left, err := r.collect(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("gc takes %v of what was published, %v", left, err)
	}

	// The second run makes nothing.
	before, calls := r.server.Resources(), r.server.Calls()
	again := r.mustLaunch()
	for _, each := range r.server.Calls()[len(calls):] {
		if slices.Contains([]string{"RunInstances", "CreateImage", "CopyImage", "ImportKeyPair", "CreateSecurityGroup"}, each.Operation) && !each.DryRun {
			t.Errorf("%s is called again", each.Operation)
		}
	}
	if out.Found || !again.Found {
		t.Errorf("found: at first %t, then %t", out.Found, again.Found)
	}
	if after := r.server.Resources(); !slices.Equal(before, after) || !slices.Equal(out.Artifacts, again.Artifacts) {
		t.Errorf("before %q, after %q; %v, then %v", before, after, out.Artifacts, again.Artifacts)
	}
}

// A build that is only to show that it works leaves nothing; one that stops
// after the steps makes no image.
func TestLaunchForShow(t *testing.T) {
	for name, tc := range map[string]struct {
		edit   func(*target.Launch)
		images int
	}{
		"all of it":      {func(l *target.Launch) { l.Stays = false }, 1},
		"not booted":     {func(l *target.Launch) { l.Stays, l.Tests = false, nil }, 1},
		"the steps only": {func(l *target.Launch) { l.Stays, l.Image, l.Tests = false, false, nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newLaunch(t, awstest.Options{Lag: 1})
			r.edit = tc.edit
			out := r.mustLaunch()
			if left := r.server.Resources(); len(left) > 0 || len(out.Artifacts) > 0 || r.server.Count("CreateImage") != tc.images || r.server.Count("CopyImage") > 0 {
				t.Errorf("left %q; %+v; %d images were made", left, out, r.server.Count("CreateImage"))
			}
		})
	}
}

// What goes wrong is said, with its remedy and whose it is, and leaves nothing.
func TestLaunchFails(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		options awstest.Options
		edit    func(*trial, *hosts)
		want    string
		kind    fault.Kind
		early   bool // before anything is made
	}{
		"no AMI of the name": {edit: func(r *trial, _ *hosts) { r.source.Name = "fedora-*" }, want: "source.ami.name: eu-west-1 has no AMI named fedora-* of " + vendor, kind: fault.Input, early: true},
		"no AMI of the id":   {edit: func(r *trial, _ *hosts) { r.source.ID = "ami-0123456789abcdef0" }, want: "source.ami.id: eu-west-1 has no AMI ami-0123456789abcdef0", kind: fault.Input, early: true},
		"another architecture": {edit: func(r *trial, _ *hosts) {
			r.source.ID = r.server.Seed(awstest.Seed{Name: "debian-12-arm64", Owner: vendor, Architecture: "arm64"})
		}, want: "is for arm64, and the platform is for amd64", kind: fault.Input, early: true},
		"another architecture by name": {edit: func(r *trial, _ *hosts) {
			r.server.Seed(awstest.Seed{Name: "fedora-40", Owner: vendor, Architecture: "arm64"})
			r.source.Name = "fedora-*"
		}, want: "has 1 AMIs named fedora-* of 136693071363, and none that fits: one is for arm64", kind: fault.Input, early: true},
		"no default VPC": {options: awstest.Options{NoDefaultVPC: true}, want: "source.ami.subnet", kind: fault.Input, early: true},
		"no such subnet": {edit: func(r *trial, _ *hosts) { r.source.Subnet = "subnet-0123456789abcdef0" }, want: "has no subnet subnet-0123456789abcdef0", kind: fault.Input, early: true},
		"boot mode":      {edit: func(r *trial, _ *hosts) { r.config.BootMode = BootUEFI }, want: "platforms.aws.boot_mode: with source: ami", kind: fault.Input, early: true},
		"a small volume": {edit: func(r *trial, _ *hosts) {
			r.source.ID = r.server.Seed(awstest.Seed{Name: "large", Owner: vendor, SizeGiB: 30})
			r.config.VolumeSize = 8 << 30
		}, want: "platforms.aws.volume_size: 8GiB is smaller than the root volume", kind: fault.Input, early: true},
		"no capacity": {edit: func(r *trial, _ *hosts) {
			r.server.Fail(awstest.Fault{Operation: "RunInstances", Nth: 3, Times: -1, Effect: awstest.Refuse, Code: "InsufficientInstanceCapacity"})
		}, want: "AWS has none free of that type", kind: fault.Remote},
		"no more processors": {edit: func(r *trial, _ *hosts) {
			r.server.Fail(awstest.Fault{Operation: "RunInstances", Nth: 3, Effect: awstest.Refuse, Code: "VcpuLimitExceeded"})
		}, want: "ask AWS for a higher limit", kind: fault.Remote},
		"an instance that dies at once": {edit: func(r *trial, _ *hosts) {
			r.server.Fail(awstest.Fault{Operation: "RunInstances", Nth: 3, Effect: awstest.Stillborn})
		}, want: "is terminated: Server.InternalError: Internal error on launch", kind: fault.Remote},
		"an image that fails": {edit: func(r *trial, _ *hosts) {
			r.server.Fail(awstest.Fault{Operation: "CreateImage", Nth: 2, Effect: awstest.Stillborn})
		}, want: "EC2 gave up image", kind: fault.Remote},
		"ssh never up":      {edit: func(r *trial, h *hosts) { h.silent, r.limits.Boot = true, time.Second }, want: "could not be entered within 1s", kind: fault.Guest},
		"the wrong account": {edit: func(_ *trial, h *hosts) { h.closed = true }, want: "set source.ami.user", kind: fault.Guest},
		"another machine":   {edit: func(_ *trial, h *hosts) { h.wrong = true }, want: "the host key is not the expected one; the AMI has to run cloud-init", kind: fault.Guest},
		"a step":            {edit: func(r *trial, _ *hosts) { r.steps = func(context.Context, guest.Guest) error { return boom } }, want: "boom"},
		"a step's command":  {edit: func(_ *trial, h *hosts) { h.answer = fails("make it") }, want: "exit status 3"},
		"a test":            {edit: func(_ *trial, h *hosts) { h.answer = fails("prove it") }, want: "exit status 3"},
		"an instance that is ended in a step": {edit: func(r *trial, h *hosts) {
			r.steps = func(ctx context.Context, g guest.Guest) error {
				h.off()
				return g.Run(ctx, guest.Command{Argv: []string{"make", "it"}})
			}
		}, want: "Client.InstanceInitiatedShutdown", kind: fault.Remote},
	} {
		t.Run(name, func(t *testing.T) {
			r, h := newLaunch(t, tc.options)
			if tc.edit != nil {
				tc.edit(r, h)
			}
			before := r.server.Resources()
			_, err, undone := r.launch(t.Context())
			if err == nil || undone != nil || !strings.Contains(err.Error(), tc.want) || tc.kind != 0 && fault.KindOf(err) != tc.kind {
				t.Errorf("%v (%v); undo: %v", err, fault.KindOf(err), undone)
			}
			if left := r.server.Resources(); !slices.Equal(left, before) {
				t.Errorf("left %q", left)
			}
			if made := r.server.Count("ImportKeyPair"); tc.early && made > 0 {
				t.Errorf("something was made before the error")
			}
		})
	}
}

// Each right that is missing is named before anything is made.
func TestLaunchRights(t *testing.T) {
	c := NewConfig()
	c.Region, c.CopyTo = "eu-west-1", []string{"us-east-1"}
	for _, each := range c.launchRights(amisource.New()) {
		region := "eu-west-1"
		if !each.home {
			region = "us-east-1"
		}
		r, _ := newLaunch(t, awstest.Options{Deny: []string{each.action + "@" + region}})
		_, err, undone := r.launch(t.Context())
		if err == nil || undone != nil || !strings.Contains(err.Error(), region+": the right "+each.action+" is missing") || fault.KindOf(err) != fault.Environment {
			t.Errorf("%s: %v; undo: %v", each.action, err, undone)
		}
		if left := r.server.Resources(); len(left) > 0 {
			t.Errorf("%s: left %q", each.action, left)
		}
	}
}

// fails answers a command as one that does.
func fails(command string) func(string) (string, int) {
	return func(line string) (string, int) {
		if strings.Contains(line, command) {
			return "no\n", 3
		}
		return "", 0
	}
}
