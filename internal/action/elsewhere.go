package action

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/org/imagebuild-action/internal/container"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/vm"
)

// elsewhere runs the action again in a sibling container that has what this
// one lacks, and returns its exit code as an error. It returns nil where there
// is nothing to gain, or nothing to be had: then the build goes on here.
func (j *job) elsewhere(ctx context.Context, in inputs) error {
	if grant, sibling := container.Granted(j.Environ); sibling {
		j.grant = *grant
		return nil
	}
	if accel, _, err := vm.ChooseAccel(vm.Auto); err == nil && accel == vm.KVM {
		why := "this container has it already"
		j.grant = container.Grant{KVM: true, KVMReason: why, Mounts: true, MountsReason: why}
		return nil
	}
	request := container.Request{RunID: j.runID(), Environ: j.Environ, Dir: j.workspace, Stdout: j.Stdout, Stderr: j.Stdout}
	if in.kvm == kvmOff {
		request.Devices = []string{}
	}
	j.console.resume() // the sibling has a console of its own
	code, err := container.Rerun(ctx, request)
	var refused *container.Refused
	switch {
	case errors.As(err, &refused):
		j.grant = refused.Grant
		j.console.line("no sibling container: %v", refused.Cause)
		return nil
	case err != nil:
		return err
	}
	return siblingExit(code)
}

// runID is the same for all stages of this step, and no other's.
func (j *job) runID() string {
	var words []string
	for _, name := range []string{"GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "INPUT_JOB-INDEX", "GITHUB_ACTION"} {
		words = append(words, j.getenv(name))
	}
	return strings.Join(words, "-")
}

// accel is how the images are booted.
func (c *cell) accel() vm.Accel {
	switch c.in.kvm {
	case kvmRequired:
		return vm.KVM
	case kvmOff:
		return vm.TCG
	}
	return vm.Auto
}

// acceleration says which of KVM and emulation it will be, and why.
func (c *cell) acceleration() (string, error) {
	accel, reason, err := vm.ChooseAccel(c.accel())
	switch {
	case err != nil && c.in.kvm == kvmRequired && !c.grant.KVM:
		return "", fault.Errorf(fault.Environment, "input kvm: required: %w (%s); use a runner that has KVM, or kvm: auto", err, c.grant.KVMReason)
	case err != nil:
		return "", err
	}
	text := fmt.Sprintf("%s: %s", accel, reason)
	if c.in.kvm == kvmAuto && c.grant.KVMReason != "" {
		text += "; " + c.grant.KVMReason
	}
	return text, nil
}
