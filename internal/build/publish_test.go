package build

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
)

const cloudTemplate = `name: golden
version: "1.2.3"
source: {bootstrap: {distribution: debian, release: bookworm}}
disk: {size: 1GiB}
platforms:
  aws: {region: eu-west-1, copy_to: [us-east-1]}
`

// sealedBuilder is a build that has come as far as the pack stage: the tree
// and the disk are there.
func sealedBuilder(t *testing.T) (*builder, *testkit.Disk) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "imagebuild.yml")
	if err := os.WriteFile(path, []byte(cloudTemplate), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &builder{Options: Options{
		Template: path, LookupEnv: func(string) (string, bool) { return "", false }, Output: filepath.Join(dir, "out"), CacheDir: filepath.Join(dir, "cache"),
		Publish: true, Until: StagePack, Report: report.Discard,
	}}
	if err := b.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.work, err = run.NewWorkDir(b.Output, workPrefix); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.work.Remove() })
	if b.clouds.run, err = newRun("github 42/1"); err != nil || !strings.HasPrefix(b.clouds.run, "github-42-1-") {
		t.Fatal(b.clouds.run, err)
	}
	disk := testkit.NewDisk(1 << 30)
	disk.Put(5<<20, testkit.Noise(1, 700<<10))
	for _, each := range b.trees {
		each.sealed = testkit.Tree{Files: map[string]string{"etc/fstab": "UUID=1 / ext4 defaults 0 1\n"}}
		each.provider = &disks{tree: each, dir: dir, task: report.Discard.Begin("disk")}
		v := each.provider.variant(target.Canonical)
		v.emit.Do(func() { v.raw, v.err = raw.Open(testkit.RawFile(t, disk)) })
		if v.err != nil {
			t.Fatal(v.err)
		}
		t.Cleanup(func() { _ = v.raw.Close() })
	}
	return b, disk
}

func (b *builder) mustPublish(t *testing.T) {
	t.Helper()
	task := report.Discard.Begin("test")
	if err := b.checkPublish(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, cell := range b.plan.Cells {
		p, ok, err := publisher(cell)
		if err != nil || !ok {
			t.Fatal(cell.Platform, ok, err)
		}
		boots, err := b.packCloud(t.Context(), cell, p, task)
		if err != nil || !strings.HasPrefix(boots.name, "golden-1.2.3-aws-amd64-") {
			t.Fatal(boots, err)
		}
	}
	if err := b.publish(t.Context(), task); err != nil {
		t.Fatal(err)
	}
}

func TestPublishStage(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	server.Setenv(t, os.Environ())
	b, disk := sealedBuilder(t)
	b.mustPublish(t)
	if err := b.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.leaveClouds(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if a := b.result.Artifacts; len(a) != 2 || a[0].Kind != image.AMI || a[0].Region != "eu-west-1" || a[1].Region != "us-east-1" {
		t.Errorf("%+v", a)
	}
	for _, each := range server.Images() {
		there, err := server.Disk(each.Region, each.ID)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Same(t, disk, there)
		_ = there.Close()
	}
	var record struct {
		Plan string `json:"plan_digest"`
	}
	text, err := os.ReadFile(filepath.Join(b.Output, "ami-aws-amd64.json"))
	if err != nil || json.Unmarshal(text, &record) != nil || record.Plan != b.plan.Digest {
		t.Errorf("%v: %s", err, text)
	}
	sums, err := os.ReadFile(filepath.Join(b.Output, sumsFile))
	if err != nil || !strings.Contains(string(sums), "  ami-aws-amd64.json\n") {
		t.Errorf("%v: %s", err, sums)
	}
	if left, _ := os.ReadDir(JournalDir(b.CacheDir)); len(left) != 0 {
		t.Errorf("journals are left: %v", left)
	}
}

// What fails after the AMIs were made takes them back, too.
func TestAFailedBuildTakesItsImagesBack(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	server.Setenv(t, os.Environ())
	b, _ := sealedBuilder(t)
	b.mustPublish(t)
	if err := os.RemoveAll(b.Output); err != nil {
		t.Fatal(err)
	}
	cause := b.finish(t.Context())
	if cause == nil {
		t.Fatal("finished into a folder that is gone")
	}
	if err := b.leaveClouds(t.Context(), cause); err != nil {
		t.Fatal(err)
	}
	if left := server.Resources(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if left, _ := os.ReadDir(JournalDir(b.CacheDir)); len(left) != 0 {
		t.Errorf("journals are left: %v", left)
	}
}

// What cannot be taken back is said, and the journal stays for gc.
func TestWhatCannotBeTakenBack(t *testing.T) {
	server := awstest.New(t, awstest.Options{})
	server.Setenv(t, os.Environ())
	b, _ := sealedBuilder(t)
	b.mustPublish(t)
	server.Fail(awstest.Fault{Operation: "DeregisterImage", Times: -1, Effect: awstest.Refuse})
	err := b.leaveClouds(t.Context(), errors.New("the disk is full"))
	if err == nil || !strings.Contains(err.Error(), "run: imagebuild gc") {
		t.Errorf("%v", err)
	}
	server.Heal()
	left, err := Collect(t.Context(), "aws", target.Sweep{}, b.CacheDir, report.Discard.Begin("gc"))
	if err != nil || len(left) == 0 {
		t.Errorf("gc found %v, %v", left, err)
	}
	if left := server.Resources(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
