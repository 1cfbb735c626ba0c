package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cryptossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/ec2host"
	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/testkit"
)

// cloudDisk is a Debian with cloud-init, as a raw disk.
func cloudDisk(t *testing.T, p *program) string {
	t.Helper()
	dir, out := filepath.Join(t.TempDir(), "cloud"), t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/cloud")); err != nil {
		t.Fatal(err)
	}
	p.run(t, dir, "build", "--until", "pack", "--output", out).ok(t)
	files, err := filepath.Glob(filepath.Join(out, "*.qcow2"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %q", err, files)
	}
	path := filepath.Join(dir, "disk.raw")
	testkit.QemuImg(t, "convert", "-O", "raw", files[0], path)
	return path
}

// awsCLI is Amazon's own client in one region.
type awsCLI struct {
	tool   string
	server *awstest.Server
}

// call runs one command and reads its answer.
func (a awsCLI) call(t *testing.T, into any, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), a.tool, append([]string{"--region", "eu-west-1", "--output", "json", "ec2"}, args...)...)
	cmd.Env = a.server.Client(os.Environ())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil && into != nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("aws ec2 %s: %v\n%s%s", strings.Join(args, " "), err, stderr.String(), out)
	}
}

// instanceLife launches what was built as an instance, changes it from inside,
// and makes an image of it, with Amazon's client.
func instanceLife(t *testing.T, tool string, disk image.Disk, bootMode string) {
	host := ec2host.New(t, ec2host.Options{Console: testing.Verbose()})
	server := awstest.New(t, awstest.Options{Hypervisor: host})
	source := server.Seed(awstest.Seed{Name: "debian-12-amd64-20260101", Owner: "136693071363", Disk: disk, BootMode: bootMode, ImdsSupport: "v2.0"})
	aws := awsCLI{tool, server}

	private := ed25519.NewKeyFromSeed(testkit.Noise(12, ed25519.SeedSize))
	signer, err := cryptossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(public, cryptossh.MarshalAuthorizedKey(signer.PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	aws.call(t, nil, "import-key-pair", "--key-name", "builder", "--public-key-material", "fileb://"+public)
	userData := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(userData, []byte("#cloud-config\nwrite_files:\n- {path: /etc/from-user-data, content: told}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var run struct {
		Instances []struct {
			ID string `json:"InstanceId"`
		}
	}
	aws.call(t, &run, "run-instances", "--image-id", source, "--instance-type", "t3.micro", "--key-name", "builder", "--user-data", "file://"+userData)
	id := run.Instances[0].ID
	aws.call(t, nil, "wait", "instance-running", "--instance-ids", id)
	var described struct {
		Reservations []struct {
			Instances []struct {
				Address string `json:"PublicIpAddress"`
			}
		}
	}
	aws.call(t, &described, "describe-instances", "--instance-ids", id)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	client, err := ssh.Dial(ctx, ssh.Config{
		Addr: net.JoinHostPort(described.Reservations[0].Instances[0].Address, strconv.Itoa(host.Port())), User: "debian", Signers: []cryptossh.Signer{signer},
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, last(host.Console(id), 3000))
	}
	t.Logf("booted and logged in within %s", time.Since(begun).Round(time.Second))
	// What cloud-init has asked for is of interest only once it is done.
	for _, each := range []struct{ script, want string }{
		{"systemctl is-system-running --wait >/dev/null || true; cat /run/cloud-init/result.json", "DataSourceEc2"},
		{"cloud-id", "aws"},
		{"cat /etc/from-user-data", "told"},
		{"lsblk --nodeps --noheadings --output NAME", "nvme0n1"},
		{"echo made inside >/etc/made-inside && sync && cat /etc/made-inside", "made inside"},
	} {
		var out strings.Builder
		if err := client.Run(ctx, guest.Command{Argv: []string{"sh", "-c", each.script}, Stdout: &out, Stderr: &out}); err != nil || !strings.Contains(out.String(), each.want) {
			t.Errorf("%s: %v\n%s", each.script, err, out.String())
		}
	}
	_ = client.Close()
	if asked := host.Asked(id); !slices.Contains(asked, "/latest/api/token") || !slices.ContainsFunc(asked, func(path string) bool { return strings.HasSuffix(path, "/public-keys/0/openssh-key") }) {
		t.Errorf("the metadata service was asked for %q", asked)
	}
	begun = time.Now()
	aws.call(t, nil, "stop-instances", "--instance-ids", id)
	aws.call(t, nil, "wait", "instance-stopped", "--instance-ids", id)
	t.Logf("stopped within %s", time.Since(begun).Round(time.Second))
	if text := host.Console(id); !strings.Contains(text, "Power down") {
		t.Errorf("it was cut off:\n%s", last(text, 2000))
	}
	var made struct {
		ID string `json:"ImageId"`
	}
	aws.call(t, &made, "create-image", "--instance-id", id, "--name", "golden")
	aws.call(t, nil, "wait", "image-available", "--image-ids", made.ID)
	aws.call(t, nil, "terminate-instances", "--instance-ids", id)
	aws.call(t, nil, "wait", "instance-terminated", "--instance-ids", id)
	aws.call(t, nil, "delete-key-pair", "--key-name", "builder")
	if left := server.Resources(); len(left) != 2 || host.Running() != 0 {
		t.Errorf("left %q and %d machines", left, host.Running())
	}
	back, err := server.Disk("eu-west-1", made.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if got := content(t, back, "etc/made-inside"); got != "made inside\n" {
		t.Errorf("in the image: %q", got)
	}
}

// content reads one file of a disk's root.
func content(t *testing.T, disk image.Disk, path string) string {
	t.Helper()
	tree, err := extract.Root(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	found, stop := "", errors.New("found")
	err = tree.Walk(t.Context(), func(e *image.Entry, in io.Reader) error {
		if e.Path != path {
			return nil
		}
		text, err := io.ReadAll(in)
		found = string(text)
		return errors.Join(err, stop)
	})
	if !errors.Is(err, stop) {
		t.Errorf("%s: %v", path, err)
	}
	return found
}
