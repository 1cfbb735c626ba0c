package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// actWorkflow is a pull request's, with the outputs in a later step. The action
// is named as in a release: by its container, not by its Dockerfile.
const actWorkflow = `name: images
on: pull_request
permissions: {contents: read}
jobs:
  image:
    strategy: {matrix: {platform: [virtualbox, vmware, libvirt]}}
    runs-on: ubuntu-latest
    steps:
      - uses: ./action
        id: image
        with: {until: pack, cache-dir: ` + cacheInput + `}
      - env:
          VERSION: ${{ steps.image.outputs.version }}
          ARTIFACTS: ${{ steps.image.outputs.artifacts }}
          ACCELERATOR: ${{ steps.image.outputs.accelerator }}
        run: |
          test "$VERSION" = 1.0.0
          test "$ACCELERATOR" = none
          echo "$ARTIFACTS" | grep -q golden-1.0.0-libvirt-amd64.qcow2
          cd out && sha256sum --check --strict SHA256SUMS
`

// act runs the workflow of a pull request with an independent runner
// (github.com/nektos/act), which reads action.yml itself.
func (h *host) act(t *testing.T) {
	path, err := filepath.Abs("../../bin/act")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		path = testkit.Tool(t, "act")
	}
	description, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	released := strings.Replace(string(description), "image: Dockerfile", "image: docker://"+h.image, 1)
	for name, text := range map[string]string{
		"action/action.yml": released, ".github/workflows/images.yml": actWorkflow,
		"event.json": `{"pull_request": {"head": {"repo": {"full_name": "octo/images"}}}}`,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(h.job.Workspace, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		h.write(t, name, text)
	}
	home := t.TempDir()
	out, err := run.Output(t.Context(), run.Spec{
		Argv: []string{
			path, "pull_request", "--eventpath", "event.json", "--matrix", "platform:libvirt", "--bind", "--pull=false", "--action-offline-mode", "--no-cache-server",
			"--platform", "ubuntu-latest=debian:trixie-slim", "--container-daemon-socket", "unix://" + h.docker.Socket, "--rm",
		},
		Dir: h.job.Workspace, Group: true,
		Env: run.Environ("DOCKER_HOST=unix://"+h.docker.Socket, "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(out))
	}
	for _, want := range []string{"Job succeeded", "Post ./action"} {
		if !strings.Contains(out, want) {
			t.Errorf("the log lacks %q:\n%s", want, tail(out))
		}
	}
	h.nothingLeft(t)
}
