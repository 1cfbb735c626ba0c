package action

import (
	"os/exec"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/dockertest"
)

// killed kills the runner's docker client at once, as when the runner itself
// dies: the container and its sibling run on until the post stage.
func (h *host) killed(t *testing.T) {
	inputs := map[string]string{"cache-dir": ".cold-cache"}
	running := h.job.Start(t, h.tag(h.step("vmware", 0, 3, inputs), "v2.0.0"))
	running.Stdout.Await(t, "amd64 | I: ", 5*time.Minute)
	if out, err := exec.Command("pkill", "-KILL", "-f", "run --name "+running.Name+" ").CombinedOutput(); err != nil {
		t.Fatalf("pkill: %v: %s", err, out)
	}
	running.Wait(t)
	if left := h.docker.Containers(t, ""); len(left) != 2 {
		t.Fatalf("containers %q, want the action's and its sibling", left)
	}
	h.run(t, dockertest.Step{Image: h.image, Entrypoint: "/usr/local/bin/" + PostName, Inputs: h.tag(h.step("vmware", 0, 3, inputs), "v2.0.0").Inputs}).ok(t)
	// The action's own container ends when it sees that its sibling is gone.
	dockertest.Eventually(t, time.Minute, func() bool { return len(h.docker.Containers(t, "")) == 0 }, func() string { return "containers are left" })
	h.nothingLeft(t)
	for _, r := range h.server.Releases() {
		if r.Draft {
			t.Errorf("a draft is left: %+v", r)
		}
	}
}
