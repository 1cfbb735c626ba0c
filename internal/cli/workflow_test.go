package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
)

// testApp is a command line in a repository of its own.
func testApp(t *testing.T, files map[string]string) (*app, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	return &app{Process: Process{Argv: []string{"imagebuild"}, LookupEnv: none, Stdout: &stdout, Stderr: &stderr}, secrets: &redact.Set{}, colour: "never"}, &stdout, &stderr
}

const webTemplate = `name: web
variables: {release: {default: bookworm}, token: {sensitive: true, required: false}}
source: {bootstrap: {distribution: debian, release: "${{ var.release }}"}}
provision: [{shell: "echo ${{ matrix.flavour || 'plain' }} ${{ var.token || '' }}"}]
platforms: {virtualbox: {}, libvirt: {}, vmware: {}}
`

// TestGroups: what is built together of a workflow's cells, with what, where.
func TestGroups(t *testing.T) {
	job := func(matrix, with string) string {
		return "jobs:\n  image:\n    strategy: {matrix: " + matrix + "}\n    steps:\n      - uses: org/imagebuild-action@v1\n        with: " + with + "\n"
	}
	for name, tt := range map[string]struct {
		workflow string
		common   build.Options
		job      string
		want     []string
		says     string
	}{
		"platforms share one build": {workflow: job("{platform: [libvirt, virtualbox]}", "{}"), want: []string{": imagebuild.yml [libvirt virtualbox] map[]"}},
		"no matrix is everything": {
			workflow: "jobs: {a: {steps: [{uses: ./}]}}", want: []string{": imagebuild.yml [libvirt virtualbox vmware] map[]"},
		},
		"a variable keeps builds apart": {
			workflow: job("{platform: [libvirt, vmware], release: [bookworm, trixie], exclude: [{platform: vmware, release: trixie}]}", "{}"),
			want:     []string{"web-bookworm: imagebuild.yml [libvirt vmware] map[release:bookworm]", "web-trixie: imagebuild.yml [libvirt] map[release:trixie]"},
		},
		"what the template does not look up keeps nothing apart": {
			workflow: job("{platform: [libvirt, vmware], runner: [a, b]}", "{}"), want: []string{": imagebuild.yml [libvirt vmware] map[]"},
		},
		"what it looks up does": {
			workflow: job("{platform: [libvirt], flavour: [hot, sweet]}", "{}"),
			want:     []string{"web-hot: imagebuild.yml [libvirt] map[] map[flavour:hot]", "web-sweet: imagebuild.yml [libvirt] map[] map[flavour:sweet]"},
		},
		"a sensitive value names no folder": {
			workflow: job("{token: [hunter22hunter22, swordfish-swordfish]}", "{platform: libvirt}"),
			want:     []string{"web: imagebuild.yml [libvirt] map[token:hunter22hunter22]", "web-2: imagebuild.yml [libvirt] map[token:swordfish-swordfish]"},
		},
		"several templates": {
			workflow: job("{template: [imagebuild.yml, other]}", "{platform: libvirt}"),
			want:     []string{"web: imagebuild.yml [libvirt] map[]", "db: other/imagebuild.yml [libvirt] map[]"},
		},
		"inputs of the step": {
			workflow: job("{image: [{file: other, os: trixie}]}", `{template: "${{ matrix.image.file }}/imagebuild.yml", platform: libvirt, version: "1.${{ 2 }}", arch: amd64}`),
			want:     []string{": other/imagebuild.yml [libvirt] map[] 1.2 amd64"},
		},
		"variables, but for those that are given": {
			workflow: job("{release: [sid]}", "{variables: \"release=trixie\\ntoken=${{ secrets.TOKEN }}\"}"),
			common:   build.Options{Vars: map[string]string{"token": "given-given"}},
			want:     []string{": imagebuild.yml [libvirt virtualbox vmware] map[release:trixie token:given-given]"},
		},
		"variables that only GitHub knows": {
			workflow: job("{release: [sid]}", "{variables: \"release=trixie\\ntoken=${{ secrets.TOKEN }}\"}"),
			says:     "w.yml:6:54: secrets.TOKEN is known to GitHub only",
		},
		"the command line narrows and wins": {
			workflow: job("{platform: [libvirt, vmware], release: [sid]}", "{version: \"${{ github.ref_name }}\", arch: \"${{ vars.ARCH }}\"}"),
			common:   build.Options{Platforms: []string{"libvirt"}, Arch: "amd64", Version: "3.1", Vars: map[string]string{"release": "trixie"}},
			want:     []string{": imagebuild.yml [libvirt] map[release:trixie] 3.1 amd64"},
		},
		"an architecture that no cell has": {
			workflow: job("{arch: [amd64]}", "{}"), common: build.Options{Arch: "arm64"}, says: `no cell of the workflow has the architecture "arm64"`,
		},
		"two jobs that build the same": {
			workflow: "jobs:\n  pr: &job {steps: [{uses: ./, with: {platform: libvirt}}]}\n  tag: *job\n  close: {steps: [{uses: ./, with: {command: release}}]}\n",
			want:     []string{": imagebuild.yml [libvirt] map[]"},
		},
		"the workflow's environment": {
			workflow: "env: {FLAVOUR: hot, SOURCE_DATE_EPOCH: 5}\njobs: {a: {strategy: {matrix: {x: [1, 2]}}, steps: [{uses: ./, env: {FLAVOUR: \"v${{ matrix.x }}\", OTHER: \"${{ matrix.x }}\"}, with: {template: env.yml}}]}}",
			want:     []string{"env: env.yml [libvirt] map[] v1 5", "env-2: env.yml [libvirt] map[] v2 5"},
		},
		"one of the jobs": {
			workflow: "jobs:\n  a: {steps: [{uses: ./, with: {platform: libvirt}}]}\n  b: {steps: [{uses: ./, with: {platform: vmware}}]}\n", job: "b",
			want: []string{": imagebuild.yml [vmware] map[]"},
		},
		"a planned matrix": {
			workflow: `jobs:
  plan:
    outputs: {m: "${{ steps.p.outputs.m }}"}
    steps: [{id: p, run: 'echo "m=$(imagebuild plan --matrix other . -p libvirt --changed-since "$BASE")" >> $GITHUB_OUTPUT'}]
  image:
    strategy: {matrix: "${{ fromJSON(needs.plan.outputs.m) }}"}
    steps: [{uses: ./}]
`,
			want: []string{"db: other/imagebuild.yml [libvirt] map[] amd64", "web: imagebuild.yml [libvirt] map[] amd64"},
		},
		"a plan with a mistake": {
			workflow: `jobs:
  plan:
    outputs: {m: "${{ steps.p.outputs.m }}"}
    steps: [{id: p, run: 'echo "m=$(imagebuild plan --matrix --bogus)"'}]
  image:
    strategy: {matrix: "${{ fromJSON(needs.plan.outputs.m) }}"}
    steps: [{uses: ./}]
`,
			says: "w.yml: imagebuild plan: unknown flag: --bogus",
		},
		"a template that is not there": {workflow: job("{template: [gone.yml]}", "{}"), says: "w.yml:5:9: image: stat gone.yml"},
		"an absolute one":              {workflow: job("{template: [/etc/passwd]}", "{}"), says: "lies outside of the repository"},
	} {
		t.Run(name, func(t *testing.T) {
			a, _, _ := testApp(t, map[string]string{
				"env.yml": "name: env\nvariables: {flavour: {env: FLAVOUR}}\nsource: {bootstrap: {distribution: debian, release: \"${{ var.flavour }}\"}}\nplatforms: {libvirt: {}}\n",
				"w.yml":   tt.workflow, "imagebuild.yml": webTemplate,
				"other/imagebuild.yml": "name: db\nsource: {bootstrap: {distribution: debian, release: bookworm}}\nplatforms: {libvirt: {}}\n",
			})
			tt.common.LookupEnv = a.LookupEnv
			groups, err := a.groups(t.Context(), tt.common, workflowFlags{path: "w.yml", job: tt.job})
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) || fault.KindOf(err) != fault.Input {
					t.Fatalf("got %v, want %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, g := range groups {
				line := fmt.Sprintf("%s: %s %v %v", g.folder, g.options.Template, g.options.Platforms, g.options.Vars)
				if len(g.options.Matrix) > 0 {
					line += fmt.Sprintf(" %v", g.options.Matrix)
				}
				if value, _ := g.options.LookupEnv("FLAVOUR"); value != "" {
					line += fmt.Sprintf(" %s %d", value, g.options.Epoch.Unix())
				}
				got = append(got, strings.TrimRight(strings.Join([]string{line, g.options.Version, g.options.Arch}, " "), " "))
			}
			for i := range got {
				got[i] = strings.Join(strings.Fields(got[i]), " ")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBuildGoesOn: a template that cannot be built does not keep the others
// from being tried, and the command fails in the end, with both reasons.
func TestBuildGoesOn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a build would start this program anew")
	}
	other := func(name string) string {
		return "name: " + name + "\nsource: {bootstrap: {distribution: debian, release: bookworm}}\nplatforms: {libvirt: {arch: [arm64]}}\n"
	}
	a, stdout, stderr := testApp(t, map[string]string{
		"w.yml": "jobs: {i: {strategy: {matrix: {template: [one.yml, two.yml]}}, steps: [{uses: ./}]}}", "one.yml": other("one"), "two.yml": other("two"),
	})
	common := build.Options{LookupEnv: a.LookupEnv, Secrets: a.secrets, CacheDir: filepath.Join(t.TempDir(), "cache"), CacheLimit: 1 << 30, Until: build.StageProvision}
	var err error
	if common.Output, err = filepath.Abs("out"); err != nil {
		t.Fatal(err)
	}
	err = a.buildWorkflow(t.Context(), common, workflowFlags{path: "w.yml"}, "out", true)
	if err == nil || fault.KindOf(err) != fault.Input {
		t.Fatal(err)
	}
	for _, want := range []string{"one: check: arch: arm64 is not available yet", "two: check: arch: arm64 is not available yet"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	for _, want := range []string{`"output": "out/one"`, `"output": "out/two"`, `"error": "two: check: `} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is not in %s", want, stdout)
		}
	}
	if left, _ := filepath.Glob("out/*/.work-*"); len(left) > 0 || !strings.Contains(stderr.String(), "==> two") {
		t.Errorf("left %v, said %s", left, stderr)
	}

	// Cancelled, the rest is not begun.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.buildWorkflow(ctx, common, workflowFlags{path: "w.yml"}, "out", true); fault.KindOf(err) != fault.Cancelled {
		t.Errorf("got %v", err)
	}
}

func TestSameFilesAreSaid(t *testing.T) {
	a, _, _ := testApp(t, map[string]string{
		"imagebuild.yml": webTemplate, "w.yml": "jobs: {i: {strategy: {matrix: {release: [a, b], platform: [libvirt]}}, steps: [{uses: ./}]}}",
	})
	groups, err := a.groups(t.Context(), build.Options{LookupEnv: a.LookupEnv}, workflowFlags{path: "w.yml"})
	if err != nil {
		t.Fatal(err)
	}
	if got := sameFiles(groups); len(got) != 1 || !strings.Contains(got[0], "i (a, libvirt) and i (b, libvirt) both make web-0.0.0-libvirt-amd64") {
		t.Error(got)
	}
}
