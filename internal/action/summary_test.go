package action

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/vagrant"
	"github.com/org/imagebuild-action/internal/verify"
	"github.com/org/imagebuild-action/internal/vm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "-")+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func exampleResult() *build.Result {
	return &build.Result{
		Name: "golden", Version: "1.2.3", PlanDigest: strings.Repeat("ab", 32),
		Trees: []build.TreeResult{{
			Platforms: []string{"virtualbox"}, SHA256: strings.Repeat("cd", 32), Entries: 20123, SizeBytes: 900 << 20,
			Manifest: "golden-1.2.3.manifest.json.zst", Overlay: []vagrant.Difference{{Path: "home/vagrant", Why: "the user that Vagrant enters as"}},
			Steps: []build.StepResult{{Name: "Harden | SSH", Seconds: 1.25}, {Name: "Install tools", Cached: true}},
		}},
		Artifacts: []image.Artifact{
			{Name: "golden-1.2.3-virtualbox-amd64.box", Path: "golden-1.2.3-virtualbox-amd64.box", Kind: image.Box, Platform: "virtualbox", Arch: "amd64", SizeBytes: 300 << 20, SHA256: strings.Repeat("01", 32)},
			{Name: "golden-1.2.3-virtualbox-amd64.ova", Path: "golden-1.2.3-virtualbox-amd64.ova", Kind: image.OVA, Platform: "virtualbox", Arch: "amd64", SizeBytes: 301 << 20, SHA256: strings.Repeat("02", 32)},
			{Name: "golden-1.2.3-aws", Kind: image.AMI, Platform: "aws", Arch: "amd64", Region: "eu-west-1", Reference: "ami-0abc"},
		},
		Verified: []verify.Result{{
			Artifact: "golden-1.2.3-virtualbox-amd64.box", Accel: vm.KVM, BootSeconds: 11.4, Tests: make([]verify.TestResult, 6),
			Substitutions: []vm.Substitution{{Wanted: "lsilogic", Used: "mptsas1068", Why: "QEMU has no LSI53C1030"}},
		}},
		Differences: []plan.Difference{{Step: "reboot", Field: "provision[7]", Platforms: []string{"aws"}, Reason: "only: [aws]"}},
		Stages:      []build.StageTime{{Stage: "source", Seconds: 93}, {Stage: "pack", Seconds: 46.21}},
		Seconds:     152.5,
	}
}

func TestSummary(t *testing.T) {
	t.Run("a kept disk", func(t *testing.T) {
		r := exampleResult()
		r.Trees[0].KeptDisk, r.Trees[0].Overlay, r.Trees[0].Entries = true, nil, 0
		var b strings.Builder
		sameness(&b, r)
		if got, want := b.String(), "- virtualbox: one disk, as a machine left it, `sha256:"+r.Trees[0].SHA256+"`, files that cannot be read, 900.0 MiB\n"; !strings.Contains(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
	t.Run("built", func(t *testing.T) {
		s := summary{
			title: "golden 1.2.3: virtualbox amd64", result: exampleResult(), commit: "0123456789abcdef0123456789abcdef01234567",
			reproduce: []string{"imagebuild", "build", "images/my template.yml", "--platform", "virtualbox"},
		}
		s.fact("published", "yes: %s", escape("the tag v1.2.3 was pushed"))
		golden(t, s.markdown())
	})
	t.Run("failed", func(t *testing.T) {
		s := summary{
			title:   "golden: <img src=x> [link](http://x) @team",
			err:     errors.New("step | Install: exit status 1\n| a | table |\n</details>**bold** `code`"),
			failure: "out/failure",
			failureFiles: []failure.Entry{
				{Path: "README.txt", SizeBytes: 900, About: "this list"},
				{Path: "logs/01-`x` | y.log", SizeBytes: 5 << 20, About: "what the part that failed printed"},
			},
		}
		golden(t, s.markdown())
	})
}

func TestBuildOutputs(t *testing.T) {
	values, err := buildOutputs(exampleResult(), "out")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"version": "1.2.3", "accelerator": "kvm", "manifest": "out/golden-1.2.3.manifest.json.zst", "output": "out",
		"ami-ids":     `{"eu-west-1":"ami-0abc"}`,
		"digests":     `{"golden-1.2.3-virtualbox-amd64.box":"` + strings.Repeat("01", 32) + `","golden-1.2.3-virtualbox-amd64.ova":"` + strings.Repeat("02", 32) + `"}`,
		"plan-digest": strings.Repeat("ab", 32),
	} {
		if values[name] != want {
			t.Errorf("%s is %s, want %s", name, values[name], want)
		}
	}
	empty, err := buildOutputs(&build.Result{}, "out")
	if err != nil || empty["artifacts"] != "[]" || empty["ami-ids"] != "{}" || empty["accelerator"] != "none" {
		t.Errorf("%v, %v", empty, err)
	}
}
