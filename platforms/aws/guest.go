package aws

import (
	"context"
	"errors"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
)

// needed are the drivers without which no current instance type starts.
var needed = []string{"nvme", "ena", "ext4"} //nolint:gochecknoglobals // a constant list

// xen are those that only instance types before Nitro want.
var xen = []string{"xen-blkfront", "xen-netfront"} //nolint:gochecknoglobals // a constant list

// maxConfigBytes bounds a configuration file of the guest's.
const maxConfigBytes = 1 << 20

// CheckGuest looks for what would keep the image from starting on EC2, before
// anything is uploaded. lacks are the drivers that its kernels have not where
// they are needed, with a sentence each.
func (p *Platform) CheckGuest(ctx context.Context, t image.Tree, lacks map[string]string, task report.Task) error {
	var errs []error
	for _, module := range needed {
		if sentence, lacking := lacks[module]; lacking {
			errs = append(errs, fault.Errorf(fault.Input, "the image would not start on EC2: %s", sentence))
		}
	}
	for _, module := range xen {
		if sentence, lacking := lacks[module]; lacking {
			task.Note("instance types older than Nitro (t2, m4, c4) will not start the image: %s", sentence)
			break
		}
	}
	g, err := lookInto(ctx, t)
	if err != nil {
		return err
	}
	for _, each := range g.faults() {
		errs = append(errs, fault.Errorf(fault.Input, "the image would not start on EC2: %s", each))
	}
	if len(errs) == 0 {
		g.notes(task)
	}
	return errors.Join(errs...)
}

// contents are what a look into the tree tells.
type contents struct {
	grub, fstab string
	cloudInit   bool
	sources     string // the last datasource_list, as written
}

var sourceList = regexp.MustCompile(`(?m)^\s*datasource_list\s*:\s*(\[[^\]]*\])`) //nolint:gochecknoglobals // a constant

func lookInto(ctx context.Context, t image.Tree) (contents, error) {
	var g contents
	err := t.Walk(ctx, func(e *image.Entry, content io.Reader) error {
		isCloud := e.Path == "etc/cloud/cloud.cfg" || path.Dir(e.Path) == "etc/cloud/cloud.cfg.d" && path.Ext(e.Path) == ".cfg"
		switch {
		case e.Path == "usr/bin/cloud-init":
			g.cloudInit = true
		case content == nil:
		case e.Path == "boot/grub/grub.cfg", e.Path == "etc/fstab", isCloud:
			text, err := io.ReadAll(io.LimitReader(content, maxConfigBytes))
			if err != nil {
				return err
			}
			switch e.Path {
			case "boot/grub/grub.cfg":
				g.grub = string(text)
			case "etc/fstab":
				g.fstab = string(text)
			default: // later files win, and a tree is walked in that order
				if found := sourceList.FindAllStringSubmatch(string(text), -1); len(found) > 0 {
					g.sources = found[len(found)-1][1]
				}
			}
		}
		return nil
	})
	return g, err
}

// faults are what no instance could live with.
func (g contents) faults() []string {
	var all []string
	for line := range strings.Lines(g.grub) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "linux") && strings.Contains(line, "root=/dev/") {
			all = append(all, "its boot loader looks for the root by device name, and on EC2 that is another one: use root=UUID= in /boot/grub/grub.cfg")
			break
		}
	}
	for line := range strings.Lines(g.fstab) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[1] == "/" && strings.HasPrefix(fields[0], "/dev/") && !strings.HasPrefix(fields[0], "/dev/disk/") {
			all = append(all, "/etc/fstab mounts the root by the device name "+fields[0]+", and on EC2 that is another one: use UUID=")
		}
	}
	if g.cloudInit && g.sources != "" && !regexp.MustCompile(`\bEc2\b`).MatchString(g.sources) {
		all = append(all, "cloud-init's datasource_list is "+g.sources+", without Ec2: add it below /etc/cloud/cloud.cfg.d, or remove the list")
	}
	return all
}

// notes are what its owner should know.
func (g contents) notes(task report.Task) {
	if !strings.Contains(g.grub, "console=ttyS0") {
		task.Warn("the kernel is not told of a serial console (console=ttyS0,115200), so EC2's system log and serial console will show nothing")
	}
	switch {
	case !g.cloudInit:
		task.Note("cloud-init is not in the image: instances take neither a key pair nor user data from EC2; log in as the image's own users, or add the package cloud-init")
	case g.sources == "":
		task.Warn("cloud-init has no datasource_list and may try for two minutes to find out where it is; write datasource_list: [Ec2, None] below /etc/cloud/cloud.cfg.d")
	}
}
