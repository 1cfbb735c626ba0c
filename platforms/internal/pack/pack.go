// Package pack is what the platforms that yield files have in common: the
// machine's settings, and writing one artifact after the other so that either
// all are there in the end or none.
//
//	return pack.All(ctx, job, task, "virtualbox", c.Formats, pack.Writers{
//		image.Box: {"box", target.Vagrant, c.writeBox},
//	})
package pack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/undo"
)

// Machine is the part of the hardware that all hypervisors offer alike.
type Machine struct {
	CPUs     int             `yaml:"cpus" min:"1" max:"128" doc:"Number of virtual CPUs."`
	Memory   size.Bytes      `yaml:"memory" doc:"Memory, a whole number of MiB, as 2GiB."`
	Firmware target.Firmware `yaml:"firmware" enum:"bios,uefi" doc:"What starts the machine. The disk itself boots under both."`
}

// DefaultMachine is a good default.
func DefaultMachine() Machine {
	return Machine{CPUs: 2, Memory: 1 * size.GiB, Firmware: target.BIOS}
}

// Limits of a machine's memory.
const (
	minMemory = 128 * size.MiB
	maxMemory = 4 * size.TiB
)

// Validate refuses what no hypervisor takes.
func (m Machine) Validate(faults template.Faults) {
	if m.CPUs < 1 || m.CPUs > 128 {
		faults.Add("cpus", "%d is not between 1 and 128", m.CPUs)
	}
	switch {
	case m.Memory < minMemory || m.Memory > maxMemory:
		faults.Add("memory", "%s is not between %s and %s", m.Memory, minMemory, maxMemory)
	case m.Memory%(4*size.MiB) != 0:
		faults.Add("memory", "%s is not a multiple of 4MiB, which VMware demands", m.Memory)
	}
}

// CheckFormats refuses an empty list and duplicates.
func CheckFormats(formats []image.Kind, faults template.Faults) {
	if len(formats) == 0 {
		faults.Add("formats", "the list is empty; name a format, or remove the key for all of them")
	}
	for i, format := range formats {
		if slices.Contains(formats[:i], format) {
			faults.Add(fmt.Sprintf("formats[%d]", i), "%s is there already", format)
		}
	}
}

// Writer writes one form of artifact to the path given: whole, or not at all.
type Writer struct {
	Ext     string
	Variant string // of the disk that it holds
	// Provider is Vagrant's name of the hypervisor, of a box.
	Provider string
	Write    func(ctx context.Context, path string, task report.Task) (tarball.Sum, error)
}

// Writers are what a platform can write.
type Writers map[image.Kind]Writer

// All writes the formats asked for into the job's folder. If one fails, those
// that were written before it are removed.
func All(ctx context.Context, job target.Job, task report.Task, platform string, formats []image.Kind, writers Writers) (artifacts []image.Artifact, err error) {
	var stack undo.Stack
	defer func() {
		if err = errors.Join(err, stack.Close(ctx)); err != nil {
			artifacts = nil
		}
	}()
	for _, kind := range formats {
		writer, ok := writers[kind]
		if !ok {
			return nil, fault.Errorf(fault.Input, "%s has no format %q", platform, kind)
		}
		name := job.FileName(platform, writer.Ext)
		path := filepath.Join(job.Dir, name)
		err := report.Do(task, name, func(task report.Task) error {
			sum, err := writer.Write(ctx, path, task)
			if err != nil {
				return err
			}
			stack.Push("artifact "+name, func(context.Context) error { return os.Remove(path) })
			artifacts = append(artifacts, image.Artifact{
				Name: name, Kind: kind, Platform: platform, Arch: job.Arch, Path: name,
				SizeBytes: sum.SizeBytes, SHA256: sum.SHA256, Variant: writer.Variant, Provider: writer.Provider,
			})
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	stack.Keep()
	return artifacts, nil
}

// OnlyAMD64 refuses the architectures that a platform's hardware does not have.
func OnlyAMD64(platform string, job target.Job) error {
	if job.Arch != "amd64" {
		return fault.Errorf(fault.Input, "%s: no machines for %s; remove it from arch", platform, job.Arch)
	}
	return nil
}

// seal says what a job's boxes are.
func seal(job target.Job) vagrantbox.Seal {
	return vagrantbox.Seal{
		Name: job.Name, Version: job.Version, Arch: job.Arch,
		PlanSHA256: fmt.Sprintf("%x", job.Identity[:]), Epoch: max(job.Epoch.Unix(), 0),
	}
}

// OpenVMDK returns a variant's shared stream VMDK, opened. The caller closes
// the file.
func OpenVMDK(ctx context.Context, job target.Job, variant string, task report.Task) (target.VMDKFile, *os.File, error) {
	vmdk, err := job.Disks.StreamVMDK(ctx, variant, task)
	if err != nil {
		return vmdk, nil, err
	}
	file, err := os.Open(vmdk.Path)
	return vmdk, file, run.Explain(err)
}

// Hardware completes the machine.
func (m Machine) Hardware(controller target.Controller, nic target.NIC) target.Hardware {
	return target.Hardware{CPUs: m.CPUs, Memory: m.Memory, Firmware: m.Firmware, Controller: controller, NIC: nic}
}

// DiskFile is a shared VMDK under the name that it has in an archive.
func DiskFile(name string, vmdk target.VMDKFile) ovf.DiskFile {
	return ovf.DiskFile{Name: name, SizeBytes: vmdk.SizeBytes, CapacityBytes: vmdk.CapacityBytes, PopulatedBytes: vmdk.PopulatedBytes}
}

// OVA writes the canonical disk as an OVA of the machine given.
func OVA(ctx context.Context, job target.Job, path string, task report.Task, spec ovf.Spec) (tarball.Sum, error) {
	vmdk, content, err := OpenVMDK(ctx, job, target.Canonical, task)
	if err != nil {
		return tarball.Sum{}, err
	}
	defer content.Close()
	spec.Disk = DiskFile(job.Name+"-disk1.vmdk", vmdk)
	envelope, err := ovf.Render(spec)
	if err != nil {
		return tarball.Sum{}, err
	}
	return ovf.WriteOVA(ctx, path, ovf.OVA{
		Name: job.Name, Epoch: job.Epoch, Envelope: envelope, Disk: spec.Disk, DiskSHA256: vmdk.SHA256, Content: content,
		Progress: func(done int64) { task.Progress(min(done, vmdk.SizeBytes), vmdk.SizeBytes) },
	})
}

// Ruby returns a user's code as it stands in a Vagrantfile: untouched, because
// a here-document ends only at the line's start.
func Ruby(code string) string {
	code = strings.ReplaceAll(code, "\r\n", "\n")
	if code != "" && !strings.HasSuffix(code, "\n") {
		code += "\n"
	}
	return code
}
