package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

const awsSection = `  libvirt: {formats: [qcow2]}
  aws:
    region: eu-west-1
    copy_to: [us-east-1, ap-southeast-2]
    share_with: ["123456789012", "210987654321"]
    deprecate_after: 180d
    ssm_parameter: /images/golden
`

// amis takes the golden example to AMIs in three regions: packed, booted from
// NVMe, published, read back.
func amis(t *testing.T, p *program, base string) {
	server := awstest.New(t, awstest.Options{Lag: 1})
	base = filepath.Join(base, "aws")
	golden := checkout(t, filepath.Join(base, "golden"))
	replace(t, filepath.Join(golden, "imagebuild.yml"), "  libvirt: {}\n", awsSection)
	build := func(args ...string) outcome {
		cmd := p.command(t, golden, nil, append([]string{"build", "--version", "1.2.3"}, args...)...)
		cmd.Env = server.Client(cmd.Env)
		return finish(t, cmd)
	}
	t.Run("a missing right is found before anything is built", func(t *testing.T) {
		denying := awstest.New(t, awstest.Options{Deny: []string{"ec2:CopyImage@us-east-1"}})
		cmd := p.command(t, golden, nil, "build", "--platform", "aws", "--publish", "--output", filepath.Join(base, "none"))
		cmd.Env = denying.Client(cmd.Env)
		o := finish(t, cmd)
		o.fails(t, 3, `us-east-1: the right ec2:CopyImage is missing`)
		if left := denying.Resources(); len(left) > 0 || strings.Contains(o.stderr, "provision") {
			t.Errorf("left %q\n%s", left, last(o.stderr, 1000))
		}
	})
	out := filepath.Join(base, "out")
	o := build("--platform", "aws", "--publish", "--output", out).ok(t)
	r := readResult(t, out)
	images := server.Images()
	if len(images) != 3 || len(r.Artifacts) != 3 || len(r.Verified) != 1 || len(r.Verified[0].Tests) != 6 || r.Verified[0].Artifact != r.Artifacts[0].Name {
		t.Fatalf("%d AMIs, %+v", len(images), r)
	}
	if !strings.Contains(o.stderr, "uefi, nvme") {
		t.Errorf("it was not booted from NVMe:\n%s", last(o.stderr, 3000))
	}
	t.Logf("%.0f s: %v", r.Seconds, r.Stages)
	var record struct {
		Images []struct {
			Region string
			ID     string `json:"image_id"`
		}
	}
	text, err := os.ReadFile(filepath.Join(out, "ami-aws-amd64.json"))
	if err != nil || json.Unmarshal(text, &record) != nil || len(record.Images) != 3 {
		t.Errorf("%v: %s", err, text)
	}
	sums := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = out
	if text, err := sums.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, text)
	}

	t.Run("the second run makes nothing", func(t *testing.T) {
		before, puts := server.Resources(), server.Count("PutSnapshotBlock")
		build("--platform", "aws", "--publish", "--until", "pack", "--output", filepath.Join(base, "again")).ok(t)
		if after := server.Resources(); !slices.Equal(before, after) {
			t.Errorf("before %q, after %q", before, after)
		}
		// One is the question whether we might.
		if more := server.Count("PutSnapshotBlock") - puts; more != 1 {
			t.Errorf("%d blocks were put", more)
		}
	})
	t.Run("the disk of every region is the one of the files", func(t *testing.T) {
		files := filepath.Join(base, "files")
		build("--platform", "libvirt", "--until", "pack", "--output", files).ok(t)
		for _, each := range images {
			if !slices.Equal(each.Shared, []string{"userId 123456789012", "userId 210987654321"}) {
				t.Errorf("%s is shared with %q", each.ID, each.Shared)
			}
			disk, err := server.Disk(each.Region, each.ID)
			if err != nil {
				t.Fatal(err)
			}
			testkit.QemuImg(t, "compare", "-f", "raw", "-F", "qcow2", sparse(t, disk), filepath.Join(files, "golden-1.2.3-libvirt-amd64.qcow2"))
			if err := disk.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("gc leaves it alone", func(t *testing.T) {
		before := server.Resources()
		cmd := p.command(t, golden, nil, "gc", "--older-than", "0s")
		cmd.Env = server.Client(cmd.Env)
		finish(t, cmd).ok(t)
		if after := server.Resources(); !slices.Equal(before, after) {
			t.Errorf("before %q, after %q", before, after)
		}
	})
}

// sparse writes a disk to a raw file, by its extents: a gigabyte by sectors
// takes most of a minute.
func sparse(t *testing.T, disk image.Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(disk.Size()); err != nil {
		t.Fatal(err)
	}
	for offset := int64(0); ; {
		start, end, err := disk.NextExtent(offset)
		if errors.Is(err, io.EOF) {
			return path
		}
		if err == nil {
			_, err = io.Copy(io.NewOffsetWriter(f, start), io.NewSectionReader(disk, start, end-start))
		}
		if err != nil {
			t.Fatal(err)
		}
		offset = end
	}
}
