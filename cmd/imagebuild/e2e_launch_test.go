package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/ec2host"
	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// launches is a cloud with a vendor's AMI, and a template that starts from it.
type launches struct {
	p      *program
	host   *ec2host.Host
	server *awstest.Server
	dir    string
}

func (l *launches) build(t *testing.T, args ...string) outcome {
	t.Helper()
	cmd := l.p.command(t, l.dir, nil, append([]string{"build"}, args...)...)
	cmd.Env = l.server.Client(cmd.Env)
	return finish(t, cmd)
}

// instances makes AMIs of an instance of another AMI, whose disk is source: real
// machines, real ssh, the real steps, and tests in an instance of what was made.
func instances(t *testing.T, p *program, source string) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	testkit.QemuImg(t, "convert", "-O", "raw", source, path)
	disk, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	l := &launches{p: p, host: ec2host.New(t, ec2host.Options{Console: testing.Verbose()}), dir: filepath.Join(t.TempDir(), "instance")}
	l.server = awstest.New(t, awstest.Options{Lag: 1, Hypervisor: l.host})
	ami := l.server.Seed(awstest.Seed{Name: "debian-12-amd64-20260101", Owner: "136693071363", Disk: disk, BootMode: "uefi-preferred", ImdsSupport: "v2.0"})
	if err := os.CopyFS(l.dir, os.DirFS("testdata/instance")); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(l.dir, "imagebuild.yml"), "ssh_port: 22022", "ssh_port: "+strconv.Itoa(l.host.Port()))

	out := filepath.Join(t.TempDir(), "out")
	l.build(t, "--publish", "--output", out).ok(t)
	r := readResult(t, out)
	images := l.server.Images()
	if len(images) != 3 || len(r.Artifacts) != 3 || len(r.Verified) != 1 || len(r.Verified[0].Tests) != 2 || len(r.Trees) != 1 || len(r.Trees[0].Steps) != 4 {
		t.Fatalf("%d AMIs, %+v", len(images), r)
	}
	t.Logf("%.0f s: %v", r.Seconds, r.Stages)
	for _, each := range images {
		if each.Tags["imagebuild:source"] != ami || each.Tags["imagebuild:state"] != "done" || !slices.Equal(each.Shared, []string{"userId 123456789012"}) {
			t.Errorf("%+v", each)
		}
	}
	l.onlyImagesLeft(t, 3)
	t.Run("what the steps made is in it, and none of our traces", func(t *testing.T) {
		for _, each := range images {
			back, err := l.server.Disk(each.Region, each.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got := content(t, back, "etc/made-by-shell"); got != "made\n" {
				t.Errorf("%s: %q", each.Region, got)
			}
			noTraces(t, back)
			if err := back.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("the second run makes nothing", func(t *testing.T) {
		before, launched := l.server.Resources(), l.server.Count("RunInstances")
		o := l.build(t, "--publish", "--output", filepath.Join(t.TempDir(), "again")).ok(t)
		if n := strings.Count(o.stdout, "made and proved by a run before"); n != 3 {
			t.Errorf("%d AMIs are said to be a run's before:\n%s", n, o.stdout)
		}
		if after := l.server.Resources(); !slices.Equal(before, after) || l.server.Count("RunInstances") != launched {
			t.Errorf("before %q, after %q", before, after)
		}
	})
	replace(t, filepath.Join(l.dir, "imagebuild.yml"), `test "$(id -u)" = 0`, "echo to the console >/dev/console; exit 3")
	t.Run("a step that fails is explained, and leaves nothing", func(t *testing.T) {
		testkit.Soak(t, "every call of a launch fails in a test of its own")
		out := filepath.Join(t.TempDir(), "failed")
		l.build(t, "--publish", "--output", out).fails(t, 4, `step 2 of 4 "A script": exit status 3`)
		consoles, err := filepath.Glob(filepath.Join(out, "failure", "i-*", "serial.log"))
		if err != nil || len(consoles) != 1 {
			t.Fatalf("%v, %q", err, consoles)
		}
		if text, err := os.ReadFile(consoles[0]); err != nil || !strings.Contains(string(text), "to the console") {
			t.Errorf("%v: %s", err, last(string(text), 1000))
		}
		l.onlyImagesLeft(t, 3)
	})
	t.Run("killed in an instance, and swept up after", func(t *testing.T) {
		testkit.Soak(t, "every call of a launch fails in a test of its own")
		cmd := p.command(t, l.dir, nil, "build", "--output", filepath.Join(t.TempDir(), "killed"))
		cmd.Env = l.server.Client(cmd.Env)
		interrupt(t, cmd, "entered after", syscall.SIGKILL)
		if err := l.server.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l.host.Running() != 1 {
			t.Errorf("%d machines run", l.host.Running())
		}
		gc := p.command(t, l.dir, nil, "gc")
		gc.Env = l.server.Client(gc.Env)
		o := finish(t, gc).ok(t)
		for _, kind := range []string{"instance", "security-group", "key-pair"} {
			if !regexp.MustCompile(`(?m)^removed\s+eu-west-1\s+` + kind).MatchString(o.stdout) {
				t.Errorf("no %s was removed:\n%s", kind, o.stdout)
			}
		}
		l.onlyImagesLeft(t, 3)
	})
}

// onlyImagesLeft counts what is in the cloud.
func (l *launches) onlyImagesLeft(t *testing.T, images int) {
	t.Helper()
	left := l.server.Resources()
	kinds := map[string]int{}
	for _, line := range left {
		kinds[strings.Fields(line)[1]]++
	}
	if kinds["image"] != images || kinds["snapshot"] != images || kinds["parameter"] != 3 || len(kinds) != 3 || l.host.Running() != 0 {
		t.Errorf("left %q and %d machines", left, l.host.Running())
	}
}

// noTraces looks for what the build or its machine might have left. The lease
// that dhclient gives back when the machine goes down is written after us.
func noTraces(t *testing.T, disk image.Disk) {
	t.Helper()
	tree, err := extract.Root(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	gone := regexp.MustCompile(`^(etc/ssh/ssh_host_.*|root/\..*_history|var/lib/cloud/instances/.+|var/lib/cloud/instance|var/lib/systemd/random-seed|home/[^/]+/\.ssh/authorized_keys|root/\.ssh/authorized_keys|tmp/.+)$`)
	empty := regexp.MustCompile(`^(etc/machine-id|var/log/(syslog|auth\.log|cloud-init.*))$`)
	const small = 4 << 20
	err = tree.Walk(t.Context(), func(e *image.Entry, in io.Reader) error {
		if gone.MatchString(e.Path) || empty.MatchString(e.Path) && e.SizeBytes > 0 {
			t.Errorf("%s is in the image (%d bytes)", e.Path, e.SizeBytes)
		}
		if in == nil || e.SizeBytes > small {
			return nil
		}
		text, err := io.ReadAll(in)
		if strings.Contains(string(text), "imagebuild-local-") || strings.Contains(string(text), "OPENSSH PRIVATE KEY") && strings.HasPrefix(e.Path, "var/") {
			t.Errorf("%s holds something of the build's", e.Path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
