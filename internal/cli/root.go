package cli

import (
	"context"
	"os"

	"github.com/org/imagebuild-action/internal/fault"
)

// becomeRoot makes sure that this process may act as root.
func (a *app) becomeRoot(context.Context) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return fault.Errorf(fault.Environment, "building needs root: run it with sudo")
}
