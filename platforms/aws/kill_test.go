package aws

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/undo"
)

// victimDir is set in a process that publishes until it is killed, and
// victimPort besides in one that launches, for instances whose ssh is there.
const (
	victimDir  = "IMAGEBUILD_TEST_JOURNALS"
	victimPort = "IMAGEBUILD_TEST_PORT"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		os.Exit(victim(dir))
	}
	os.Exit(m.Run())
}

// everything is a configuration whose every step leaves something.
func (r *trial) everything() *trial {
	r.config.CopyTo = []string{"us-east-1"}
	r.config.ShareWith, r.config.DeprecateAfter, r.config.SSMParameter, r.config.Deregister = []string{"123456789012"}, 90*day, "/images/golden", Protected
	return r
}

// victim is one run of the program.
func victim(dir string) int {
	r := (&trial{config: NewConfig(), disk: smallDisk(), dir: dir, limits: quick, version: "1.2.3", firmware: "bios+uefi", number: 1000 + os.Getpid()}).everything()
	r.config.Region = "eu-west-1"
	var stack undo.Stack
	publication := r.publication(&stack, nil)
	j, err := journal.Create(dir, Name, publication.Run)
	if err != nil {
		return 1
	}
	publication.Journal = j
	if port := os.Getenv(victimPort); port != "" {
		err = r.victimLaunch(port, &stack, j)
	} else {
		_, err = r.platform().Publish(context.Background(), publication, report.Discard.Begin("publish"))
	}
	if err != nil {
		return 1
	}
	if j.Keep() != nil {
		return 1
	}
	return 0
}

// victimLaunch is a launch as the program does it.
func (r *trial) victimLaunch(port string, stack *undo.Stack, j *journal.Journal) (err error) {
	r.source = vendorSource()
	if r.source.SSHPort, err = strconv.Atoi(port); err != nil {
		return err
	}
	l, p := r.job(stack, j), r.platform()
	if l.Origin, err = p.Origin(context.Background(), l); err != nil {
		return err
	}
	if err := p.CheckLaunch(context.Background(), l); err != nil {
		return err
	}
	_, err = p.Launch(context.Background(), l, report.Discard.Begin("launch"))
	return err
}

// Killed at fifty moments of publishing.
func TestKilled(t *testing.T) {
	killed(t, func(t *testing.T) (*trial, []string) {
		return newRun(t, awstest.Options{Lag: 1}).everything(), nil
	}, (*trial).mustPublish)
}

// Killed at fifty moments of a launch.
func TestLaunchKilled(t *testing.T) {
	killed(t, func(t *testing.T) (*trial, []string) {
		r, h := newLaunch(t, awstest.Options{Lag: 1})
		return r.everything(), []string{victimPort + "=" + strconv.Itoa(h.port)}
	}, (*trial).mustLaunch)
}

// killed runs victims: what one leaves, gc finds; or the next run goes on with
// it, and gc leaves that alone.
func killed(t *testing.T, begin func(*testing.T) (*trial, []string), finish func(*trial) target.Published) {
	testkit.Whole(t, "kills fifty processes")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 50))
	whole, calls := wholeRunTakes(t, self, begin)
	killed, left, finished := 0, 0, 0
	for i := 0; killed < 50; i++ {
		r, env := begin(t)
		r.server.SetParameter("us-east-1", "/images/golden", "ami-before")
		cmd := r.victim(self, env)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Soon after one of its calls: most of a run's time is not spent on them.
		delay := time.Duration(random.Int64N(int64(3 * time.Millisecond)))
		r.server.Fail(awstest.Fault{Nth: 2 + random.IntN(calls-2), Effect: awstest.Pass, Then: func() {
			time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
		}})
		if cmd.Wait() != nil {
			killed++
		}
		// What was on its way may still arrive.
		settle(t, r.server)
		if len(r.server.Resources()) > 1 {
			left++
		}
		if i%3 == 0 {
			finish(r) // goes on where the other was, or begins anew
			finished++
		}
		before := r.server.Resources()
		removed, err := r.collect(t.Context())
		if err != nil {
			t.Fatalf("killed for the %dth time: gc: %v", i, err)
		}
		after := r.server.Resources()
		want := []string{"us-east-1 parameter /images/golden ami-before"}
		if done := len(slices.DeleteFunc(r.server.Images(), func(i awstest.Image) bool { return i.Tags[tagState] != stateDone })); done > 0 {
			want = r.complete()
		}
		if !slices.Equal(after, want) {
			t.Fatalf("killed for the %dth time: left %q, want %q; before gc %q; removed %v", i, after, want, before, removed)
		}
		if dead, err := journal.Dead(r.dir, Name); err != nil || len(dead) > 0 {
			t.Fatalf("journals are left: %v, %v", dead, err)
		}
	}
	t.Logf("killed %d times within %s, %d times with something left, %d times finished by another run", killed, whole, left, finished)
	if left < 20 {
		t.Errorf("too few of the kills meant anything")
	}
}

// complete is what there is when all is done.
func (r *trial) complete() []string {
	var want []string
	for _, each := range r.server.Images() {
		want = append(want, each.Region+" image "+each.ID, each.Region+" snapshot "+each.Snapshot+" completed", each.Region+" parameter /images/golden "+each.ID)
	}
	slices.Sort(want)
	return want
}

func (r *trial) victim(self string, env []string) *exec.Cmd {
	cmd := exec.Command(self)
	cmd.Env = append(append(r.server.Client(os.Environ()), victimDir+"="+r.dir), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// wholeRunTakes measures a run that nobody kills.
func wholeRunTakes(t *testing.T, self string, begin func(*testing.T) (*trial, []string)) (took time.Duration, calls int) {
	t.Helper()
	r, env := begin(t)
	begun := time.Now()
	if err := r.victim(self, env).Run(); err != nil {
		t.Fatal(err)
	}
	if got := r.server.Resources(); !slices.Equal(got, r.complete()) {
		t.Fatalf("a whole run leaves %q", got)
	}
	return time.Since(begun), len(r.server.Calls())
}

// settle waits until the calls of a process that is gone have been dealt with.
func settle(t testing.TB, server *awstest.Server) {
	t.Helper()
	if err := server.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
}
