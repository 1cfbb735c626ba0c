package ssh

import (
	"context"
	"regexp"

	"github.com/org/imagebuild-action/internal/fault"
)

// bootIDFile holds a UUID that the kernel makes at its start (random(4)).
const bootIDFile = "/proc/sys/kernel/random/boot_id"

var bootIDPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// BootID tells one run of the guest's kernel from the next: while it is the
// same, the guest has not restarted.
func (c *Client) BootID(ctx context.Context) (string, error) {
	id, err := c.Output(ctx, "cat", bootIDFile)
	if err != nil {
		return "", err
	}
	if !bootIDPattern.MatchString(id) {
		return "", fault.Errorf(fault.Guest, "%s of the guest holds %.60q, which is no boot id", bootIDFile, id)
	}
	return id, nil
}
