package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/undo"
)

// quick are limits for a cloud on loopback.
var quick = amazon.Limits{
	Attempt: 250 * time.Millisecond, Attempts: 6, Delay: time.Millisecond, MaxDelay: 20 * time.Millisecond, Poll: time.Millisecond, MaxPoll: 5 * time.Millisecond,
	Appear: 5 * time.Second, Settle: 5 * time.Second, Boot: 10 * time.Second, Stall: 5 * time.Second,
}

// disks hands out one disk.
type disks struct{ canonical image.Disk }

func (d disks) Disk(context.Context, string) (image.Disk, error) { return d.canonical, nil }
func (disks) StreamVMDK(context.Context, string, report.Task) (target.VMDKFile, error) {
	return target.VMDKFile{}, fmt.Errorf("not of this disk")
}

func smallDisk() *testkit.Disk {
	disk := testkit.NewDisk(1 << 30)
	disk.Put(0, testkit.Noise(1, 3<<19))
	disk.Put(700<<20+512, testkit.Noise(2, 100<<10))
	return disk
}

// trial is one run of the program.
type trial struct {
	t       testing.TB
	server  *awstest.Server
	config  *Config
	disk    *testkit.Disk
	dir     string // of journals
	number  int
	limits  amazon.Limits
	version string

	firmware string
	access   target.Access
	retag    string // makes the cell's digest another with the same beginning
	task     report.Task

	olderThan int64 // seconds, for collect

	source *amisource.Config // of launches
	steps  func(ctx context.Context, g guest.Guest) error
	edit   func(*target.Launch)
}

// notes keeps the warnings, of all tasks below it.
type notes struct {
	report.Task
	mu       sync.Mutex
	warnings []string
}

func (n *notes) Begin(string) report.Task { return n }

func (n *notes) Warn(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.warnings = append(n.warnings, fmt.Sprintf(format, args...))
}

type faultList []string

func (f *faultList) Add(field, format string, args ...any) {
	*f = append(*f, field+": "+fmt.Sprintf(format, args...))
}

func newRun(t testing.TB, o awstest.Options) *trial {
	t.Helper()
	r := &trial{t: t, server: awstest.New(t, o), config: NewConfig(), disk: smallDisk(), dir: t.TempDir(), limits: quick, version: "1.2.3", firmware: "bios+uefi", task: report.Discard.Begin("publish"), olderThan: 3600}
	r.config.Region, r.config.CopyTo = "eu-west-1", []string{"us-east-1", "ap-southeast-2"}
	r.server.Setenv(t, os.Environ())
	return r
}

func (r *trial) platform() *Platform {
	p := New("aws", r.config)
	p.Limits = r.limits
	return p
}

func (r *trial) publication(stack *undo.Stack, j *journal.Journal) target.Publication {
	digest := sha256.Sum256([]byte(r.version))
	cell := hex.EncodeToString(digest[:])
	if r.retag != "" {
		cell = cell[:12] + strings.Repeat("0", 52)
	}
	return target.Publication{
		Job:      target.Job{Name: "golden", Version: r.version, Arch: "amd64", Disks: disks{r.disk}},
		Platform: "aws", PlanDigest: hex.EncodeToString(digest[:]), CellDigest: cell, DiskBytes: r.disk.Size(), Firmware: r.firmware, Access: r.access,
		Run: fmt.Sprintf("test-%d", r.number), Journal: j, Undo: stack.Push,
	}
}

// publish is a whole run of a publication.
func (r *trial) publish(ctx context.Context) (out target.Published, err, undone error) {
	r.t.Helper()
	return r.whole(ctx, func(stack *undo.Stack, j *journal.Journal) (target.Published, bool, error) {
		out, err := r.platform().Publish(ctx, r.publication(stack, j), r.task)
		return out, true, err
	})
}

func (r *trial) mustPublish() target.Published {
	r.t.Helper()
	return r.must((*trial).publish)
}

// whole runs what makes AMIs, and ends with what was made kept, where it stays,
// or taken back.
func (r *trial) whole(ctx context.Context, run func(*undo.Stack, *journal.Journal) (out target.Published, stays bool, err error)) (out target.Published, err, undone error) {
	r.t.Helper()
	r.number++
	j, err := journal.Create(r.dir, Name, fmt.Sprintf("test-%d", r.number))
	if err != nil {
		r.t.Fatal(err)
	}
	defer j.Close()
	stack := undo.Stack{Limit: 20 * time.Second}
	out, stays, err := run(&stack, j)
	if err == nil && stays {
		stack.Keep()
		return out, nil, j.Keep()
	}
	if undone = stack.Close(ctx); undone == nil {
		undone = j.Keep()
	}
	return out, err, undone
}

func (r *trial) must(run attempt) target.Published {
	r.t.Helper()
	out, err, undone := run(r, r.t.Context())
	if err != nil || undone != nil {
		r.t.Fatalf("%v; undo: %v", err, undone)
	}
	return out
}

// collect sweeps after dead runs.
func (r *trial) collect(ctx context.Context) ([]target.Leftover, error) {
	r.t.Helper()
	dead, err := journal.Dead(r.dir, Name)
	if err != nil {
		r.t.Fatal(err)
	}
	return Collect(ctx, target.Sweep{Dead: dead, Regions: r.config.regions(), OlderThan: r.olderThan}, r.limits, report.Discard.Begin("gc"))
}
