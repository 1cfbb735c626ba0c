// Package container gives a container action what its runner does not: /dev/kvm
// and the right to mount.
//
// A runner starts an action with default capabilities, no device and no way to
// ask for either, but with the Docker socket. Rerun finds the container that
// this process is in, and starts a sibling from the same image with the same
// command, environment, folders (VolumesFrom) and network, plus the device and
// the one capability that mounts need. It passes on the sibling's output, its
// exit code, and a cancellation; nothing of it is left when Rerun returns.
//
//	code, err := container.Rerun(ctx, container.Request{RunID: id, Argv: os.Args, Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr})
//	var refused *container.Refused
//	switch {
//	case errors.As(err, &refused): // nothing was begun: work here, and say refused.Grant
//	case err != nil:               // it went wrong on the way
//	}
//
// The sibling reads from its environment what it was granted (Granted), and
// should work under Tether, which ends when its parent is gone. What a killed
// parent leaves nevertheless, a later process removes with Sweep.
//
// It asks for nothing more than that: no privileged mode, no host folder, no
// other seccomp profile. Docker's default-deny AppArmor profile forbids mounts
// even with the capability, so it is lifted where the daemon has AppArmor.
//
// Known and unknown: a "container:" job is a container like any other, and its
// own socket and folders are used. Docker in Docker works if the socket is that
// of the daemon that runs us; with another one's, our container is not found
// and the answer is Refused. Podman is refused: its Docker interface is not the
// one that this was tried with. With rootless Docker and with userns-remap the
// sibling starts, but the kernel denies some mounts and /dev/kvm may not open:
// both are tried where they are used (internal/chroot, internal/vm), which then
// do without. SELinux hosts have not been tried.
package container

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

// DefaultSocket is where a runner mounts the Docker socket.
const DefaultSocket = "/var/run/docker.sock"

// RunLabel is the label by which Sweep knows a run's siblings.
const RunLabel = "org.imagebuild.run"

// grantVariable tells a sibling that it is one, and what it got.
const grantVariable = "IMAGEBUILD_SIBLING"

// Grant says what a process in a container may use, and why or why not, in
// sentences for a job summary.
type Grant struct {
	KVM          bool   `json:"kvm"`
	KVMReason    string `json:"kvmReason"`
	Mounts       bool   `json:"mounts"`
	MountsReason string `json:"mountsReason"`
}

// Refused says that no sibling could be had. Nothing of it is left, and the
// caller can go on where it is, without KVM and without mounts.
type Refused struct {
	// Grant has the reasons, for the summary.
	Grant Grant
	Cause error
}

func (r *Refused) Error() string { return "no sibling container: " + r.Cause.Error() }
func (r *Refused) Unwrap() error { return r.Cause }

func refused(cause error) *Refused {
	why := "not to be had in this container: " + firstLine(cause)
	return &Refused{Grant{KVMReason: why, MountsReason: why}, fault.Wrap(fault.Environment, cause)}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.ReplaceAll(line, "Error response from daemon: ", "")
}

// Granted returns what this process was granted, if it is a sibling.
func Granted(environ []string) (*Grant, bool) {
	for _, each := range slices.Backward(environ) {
		text, found := strings.CutPrefix(each, grantVariable+"=")
		if !found {
			continue
		}
		g := &Grant{}
		if json.Unmarshal([]byte(text), g) != nil {
			why := grantVariable + " in the environment is not ours to read"
			g = &Grant{KVMReason: why, MountsReason: why}
		}
		return g, true
	}
	return nil, false
}

// grantEnv is the environment of a sibling: the parent's, but for its name.
func grantEnv(environ []string, g Grant) []string {
	text, _ := json.Marshal(g) // of booleans and strings
	env := slices.DeleteFunc(slices.Clone(environ), func(each string) bool {
		return strings.HasPrefix(each, "HOSTNAME=") || strings.HasPrefix(each, grantVariable+"=")
	})
	return append(env, grantVariable+"="+string(text))
}
