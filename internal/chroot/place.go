package chroot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
)

// While commands run, the tree holds a policy-rc.d which forbids to start
// services, and in the bare chroot also what the mounts would have brought.
// All of it is recognised by its content, so that a later Open can take away
// what a killed process left.

const (
	policyPath = "/usr/sbin/policy-rc.d"
	policy     = "#!/bin/sh\n# Placed by imagebuild while a step runs.\nexit 101\n"
	savedName  = ".imagebuild-saved"
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
	defer parent.Close() //nolint:errcheck // a directory
	if exists(parent, name) {
		if !c.plain {
			return nil // the set-up script mounts ours over it
		}
		if err := unix.Renameat(fd(parent), name, fd(parent), name+savedName); err != nil {
			return err
		}
		c.placed = append(c.placed, placed{policyPath, func() error { return c.restore(policyPath) }})
	} else {
		c.placed = append(c.placed, placed{policyPath, func() error { return c.removeIf(policyPath, []byte(policy)) }})
	}
	return writeNew(parent, name, 0o755, []byte(policy))
}

// placeResolver gives the set-up script a file to mount over, and the bare
// chroot the resolver itself, if there is none.
func (c *Chroot) placeResolver() error {
	parent, name, err := c.parent("/etc/resolv.conf", false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close() //nolint:errcheck // a directory
	if exists(parent, name) {
		return nil
	}
	var content []byte
	if c.plain {
		// What cannot be read cannot be passed on; programs then say so themselves.
		content, _ = os.ReadFile("/etc/resolv.conf")
	}
	if err := writeNew(parent, name, 0o644, content); err != nil {
		return err
	}
	c.placed = append(c.placed, placed{"/etc/resolv.conf", func() error { return c.removeIf("/etc/resolv.conf", content) }})
	return nil
}

// placeDevices makes the nodes without which a redirection to /dev/null would
// write a regular file into the image.
func (c *Chroot) placeDevices() error {
	dev, err := c.openDir("/dev", false)
	if err != nil {
		return err
	}
	defer dev.Close() //nolint:errcheck // a directory
	for _, node := range []struct {
		name  string
		minor uint32
	}{{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}} {
		if exists(dev, node.name) {
			continue
		}
		if err := unix.Mknodat(fd(dev), node.name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, node.minor))); err != nil {
			return fault.Errorf(fault.Environment, "make /dev/%s: %w; in a container add the capability MKNOD", node.name, err)
		}
		if err := unix.Fchmodat(fd(dev), node.name, 0o666, 0); err != nil { // whatever the umask was
			return err
		}
		c.placed = append(c.placed, placed{"/dev/" + node.name, func() error { return c.remove("/dev/" + node.name) }})
	}
	return nil
}

// sweep takes away what a killed process left.
func (c *Chroot) sweep() error {
	killInside(c.root)
	parent, name, err := c.parent(policyPath, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close() //nolint:errcheck // a directory
	if exists(parent, name+savedName) {
		return c.restore(policyPath)
	}
	return c.removeIf(policyPath, []byte(policy))
}

func (c *Chroot) restore(path string) error {
	parent, name, err := c.parent(path, false)
	if err != nil {
		return err
	}
	defer parent.Close() //nolint:errcheck // a directory
	return unix.Renameat(fd(parent), name+savedName, fd(parent), name)
}

// removeIf removes a file that still has the content that was placed; if a
// step replaced it, it is the step's.
func (c *Chroot) removeIf(path string, content []byte) error {
	var found bytes.Buffer
	err := c.Get(context.Background(), path, &limited{w: &found, left: len(content) + 1})
	if err != nil || !bytes.Equal(found.Bytes(), content) {
		return nil //nolint:nilerr // gone, or not ours
	}
	return c.remove(path)
}

func (c *Chroot) remove(path string) error {
	parent, name, err := c.parent(path, false)
	if err != nil {
		return err
	}
	defer parent.Close() //nolint:errcheck // a directory
	return unix.Unlinkat(fd(parent), name, 0)
}

// limited fails once more than left bytes arrive.
type limited struct {
	w    *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("longer than expected")
	}
	return l.w.Write(p)
}

// killInside ends every process whose root directory is root.
func killInside(root string) {
	for range 20 { // a process may fork while the list is read
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
