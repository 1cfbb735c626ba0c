package vm

import (
	"context"
	"errors"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// Check finds what this machine lacks to boot images: QEMU, and its UEFI
// firmware if uefi is set.
func Check(ctx context.Context, uefi bool) error {
	var errs []error
	if err := run.Run(ctx, run.Spec{Argv: []string{Binary, "--version"}}); err != nil {
		if ctx.Err() != nil {
			return err
		}
		errs = append(errs, fault.Errorf(fault.Environment, "%w (Debian: apt-get install qemu-system-x86), or do without the boots: --until pack", err))
	}
	if uefi {
		_, err := FindFirmware()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Version names the emulator and its version, as it does itself.
func Version(ctx context.Context) (string, error) {
	out, err := run.Output(ctx, run.Spec{Argv: []string{Binary, "--version"}})
	if err != nil {
		return "", explainStart(err)
	}
	line, _, _ := strings.Cut(out, "\n")
	return strings.TrimSpace(line), nil
}
