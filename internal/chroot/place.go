package chroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
)

// While commands run, the tree holds a policy-rc.d which forbids to start
// services, and in the bare chroot also what the mounts would have brought.
// All of it is recognised by its content, so that a later Open can take away
// what a killed process left.

const (
	policyPath = "/usr/sbin/policy-rc.d"
	policy     = "#!/bin/sh\n" + marker + "exit 101\n"
	savedName  = ".imagebuild-saved"

	resolverName = "/etc/resolv.conf"
	// devicesName lists the device nodes that were made.
	devicesName = "/dev/.imagebuild-placed"

	marker = "# Placed by imagebuild while a step runs.\n"
)

// placed is something to take out of the tree again.
type placed struct {
	what   string
	remove func() error
}

// acquire prepares the tree for the first of several concurrent commands.
func (c *Chroot) acquire() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
	if c.active > 1 {
		return nil
	}
	steps := []func() error{c.placePolicy, c.placeResolver}
	if c.plain {
		steps = append(steps, c.placeDevices)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			c.active--
			return errors.Join(fmt.Errorf("prepare %s: %w", c.root, err), c.unplace())
		}
	}
	return nil
}

func (c *Chroot) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active--; c.active > 0 {
		return nil
	}
	return c.unplace()
}

func (c *Chroot) unplace() error {
	var errs []error
	for i := len(c.placed) - 1; i >= 0; i-- {
		if err := c.placed[i].remove(); err != nil {
			errs = append(errs, fmt.Errorf("take %s out of the tree: %w", c.placed[i].what, err))
		}
	}
	c.placed = nil
	return errors.Join(errs...)
}

func (c *Chroot) placePolicy() error {
	parent, name, err := c.parent(policyPath, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no /usr/sbin: no package scripts either
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	if exists(parent, name) {
		if !c.plain {
			return nil // the set-up script mounts ours over it
		}
		if err := unix.Renameat(fd(parent), name, fd(parent), name+savedName); err != nil {
			return err
		}
		c.placed = append(c.placed, placed{policyPath, func() error { return c.restore(policyPath) }})
	} else {
		c.placed = append(c.placed, placed{policyPath, func() error { return c.removeMarked(policyPath, policy) }})
	}
	return writeNew(parent, name, 0o755, []byte(policy))
}

// placeResolver gives the set-up script a file to mount over, and the bare
// chroot the resolver itself, if there is none.
func (c *Chroot) placeResolver() error {
	parent, name, err := c.parent(resolverName, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	if exists(parent, name) {
		return nil
	}
	content := []byte(marker)
	if c.plain {
		// What cannot be read cannot be passed on; programs then say so themselves.
		host, _ := os.ReadFile("/etc/resolv.conf")
		content = append(content, host...)
	}
	if err := writeNew(parent, name, 0o644, content); err != nil {
		return err
	}
	c.placed = append(c.placed, placed{resolverName, func() error { return c.removeMarked(resolverName, marker) }})
	return nil
}

// deviceNodes are those that programs cannot do without.
var deviceNodes = []struct {
	name  string
	minor uint32
}{{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}}

// placeDevices makes the nodes without which a redirection to /dev/null would
// write a regular file into the image.
func (c *Chroot) placeDevices() error {
	dev, err := c.openDir("/dev", false)
	if err != nil {
		return err
	}
	defer dev.Close()
	var list strings.Builder
	for _, node := range deviceNodes {
		if !exists(dev, node.name) {
			list.WriteString(node.name + "\n")
		}
	}
	if list.Len() == 0 {
		return nil
	}
	if err := writeNew(dev, path.Base(devicesName), 0o644, []byte(list.String())); err != nil {
		return err
	}
	c.placed = append(c.placed, placed{"/dev", c.removeDevices})
	for _, node := range deviceNodes {
		if !hasLine(list.String(), node.name) {
			continue
		}
		if err := unix.Mknodat(fd(dev), node.name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, node.minor))); err != nil {
			if errors.Is(err, unix.EPERM) {
				c.noDevices = true
				return nil // seal empties /dev, so what steps write there does not stay
			}
			return fault.Errorf(fault.Environment, "make /dev/%s: %w", node.name, err)
		}
		if err := unix.Fchmodat(fd(dev), node.name, 0o666, 0); err != nil { // whatever the umask was
			return err
		}
	}
	return nil
}

// sweep takes away what a killed process left.
func (c *Chroot) sweep() error {
	killInside(c.root)
	if err := errors.Join(c.removeDevices(), c.removeMarked(resolverName, marker)); err != nil {
		return err
	}
	parent, name, err := c.parent(policyPath, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	if exists(parent, name+savedName) {
		return c.restore(policyPath)
	}
	return c.removeMarked(policyPath, policy)
}

// removeDevices removes the nodes that the list names, and the list last.
func (c *Chroot) removeDevices() error {
	dev, err := c.openDir("/dev", false)
	if err != nil {
		return err
	}
	defer dev.Close()
	list, err := c.beginning(devicesName, 1<<10)
	if err != nil {
		return nil //nolint:nilerr // none were made
	}
	for _, node := range deviceNodes {
		if hasLine(list, node.name) && exists(dev, node.name) {
			if err := unix.Unlinkat(fd(dev), node.name, 0); err != nil {
				return err
			}
		}
	}
	return c.remove(devicesName)
}

func (c *Chroot) restore(file string) error {
	parent, name, err := c.parent(file, false)
	if err != nil {
		return err
	}
	defer parent.Close()
	return unix.Renameat(fd(parent), name+savedName, fd(parent), name)
}

// removeMarked removes a file that still begins as it was placed; if a step
// replaced it, it is the step's.
func (c *Chroot) removeMarked(name, beginning string) error {
	found, err := c.beginning(name, len(beginning))
	if err != nil || found != beginning {
		return nil //nolint:nilerr // gone, or not ours
	}
	return c.remove(name)
}

// beginning returns at most n bytes of a file.
func (c *Chroot) beginning(name string, n int) (string, error) {
	head := &head{left: n}
	err := c.Get(context.Background(), name, head)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return string(head.data), err
}

func (c *Chroot) remove(file string) error {
	parent, name, err := c.parent(file, false)
	if err != nil {
		return err
	}
	defer parent.Close()
	return unix.Unlinkat(fd(parent), name, 0)
}

var errEnough = errors.New("read enough")

// head keeps what comes first.
type head struct {
	data []byte
	left int
}

func (h *head) Write(p []byte) (int, error) {
	n := min(h.left, len(p))
	h.data, h.left = append(h.data, p[:n]...), h.left-n
	if n < len(p) {
		return n, errEnough
	}
	return n, nil
}

// killInside ends every process whose root directory is root. A process may
// fork while the list is read, and takes its time to end: the list is read
// until it is empty, but not for ever, as one may hang in the kernel.
func killInside(root string) {
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); <-time.After(5 * time.Millisecond) {
		found := false
		links, _ := filepath.Glob("/proc/[0-9]*/root")
		for _, link := range links {
			if target, err := os.Readlink(link); err != nil || target != root {
				continue
			}
			if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil && pid != os.Getpid() {
				found = syscall.Kill(pid, syscall.SIGKILL) == nil || found
			}
		}
		if !found {
			return
		}
	}
}

func hasLine(text, line string) bool { return strings.Contains("\n"+text, "\n"+line+"\n") }
