package artifact

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

// Unpack takes the system disk out of the artifact, into dir, under a name of
// our own. A bare disk is not copied. The artifact is read and checked to its
// end once more, so what is booted is what was checked.
func (a *Artifact) Unpack(ctx context.Context, dir string) (Disk, error) {
	disk, err := a.unpack(ctx, dir)
	if err != nil {
		return Disk{}, fmt.Errorf("%s: %w", filepath.Base(a.Path), classify(ctx, err))
	}
	return disk, nil
}

func (a *Artifact) unpack(ctx context.Context, dir string) (Disk, error) {
	if a.member == "" {
		return Disk{Path: a.Path, Format: a.format}, nil
	}
	if err := checkSpace(dir, a.bytes); err != nil {
		return Disk{}, err
	}
	file, err := run.CreateScratch(filepath.Join(dir, "disk"))
	if err != nil {
		return Disk{}, err
	}
	defer file.Abort()
	if err := a.walk(ctx, func(member tarball.Member, content io.Reader) error {
		if member.Name != a.member {
			return nil
		}
		_, err := io.Copy(sparse{file.File}, content)
		return run.Explain(err)
	}); err != nil {
		return Disk{}, err
	}
	// What was written sparsely may end in a hole.
	if err := file.Truncate(a.bytes); err != nil {
		return Disk{}, run.Explain(err)
	}
	if err := file.Commit(); err != nil {
		return Disk{}, err
	}
	disk := Disk{Path: filepath.Join(dir, "disk"), Owned: true}
	if disk.Format, err = a.diskFormat(disk.Path); err != nil {
		return Disk{}, fmt.Errorf("%s: %w", a.member, err)
	}
	if err := checkDisk(ctx, disk, len(a.Checks) == 0); err != nil {
		return Disk{}, fmt.Errorf("%s: %w", a.member, err)
	}
	return disk, nil
}

// diskFormat compares what the disk is said to be with what it looks like.
func (a *Artifact) diskFormat(path string) (string, error) {
	found, err := detect(path)
	if err != nil {
		return "", err
	}
	format := ""
	switch found {
	case raw.QCOW2:
		format = "qcow2"
	case raw.VMDK:
		format = "vmdk"
	case raw.VHD:
		format = "vpc"
	case raw.BootRecord:
		format = "raw"
	case raw.VMDKDescriptor:
		return "", fault.Errorf(fault.Input, "this VMDK is only a description; its content is in other files; pack it as one file (monolithicSparse or streamOptimized)")
	default:
		return "", fault.Errorf(fault.Input, "not a bootable disk in a format that can be read (qcow2, VMDK, VHD, raw)")
	}
	if a.format != "" && a.format != format {
		return "", fault.Errorf(fault.Input, "it is said to be %s and looks like %s", a.format, format)
	}
	return format, nil
}

// checkSpace refuses to start what cannot be finished, and keeps some room for
// what the guest will write.
func checkSpace(dir string, needBytes int64) error {
	const spare = 256 << 20
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return run.Explain(err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free-spare < needBytes {
		return fault.Errorf(fault.Environment, "unpacking needs %s and %s are free in %s; free some space, or point --cache-dir at a larger file system",
			size.Bytes(needBytes+spare).Human(), size.Bytes(free).Human(), dir)
	}
	return nil
}

// sparse leaves holes where blocks of zeros are written.
type sparse struct{ f *os.File }

func (s sparse) Write(p []byte) (int, error) {
	const block = 4096
	for done := 0; done < len(p); {
		n := min(block, len(p)-done)
		part := p[done : done+n]
		var err error
		if zero(part) {
			_, err = s.f.Seek(int64(n), io.SeekCurrent)
		} else {
			_, err = s.f.Write(part)
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

func zero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

func quote(text string) string { return run.Quote([]string{text}) }
