package pack

import (
	"context"
	"io"

	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/target"
)

// Box is what a Vagrant box holds, in this order.
type Box struct {
	Form        tarball.Form
	Metadata    vagrantbox.Metadata
	Vagrantfile string
	Machine     Member // what describes the machine; none without a name
	DiskName    string
	DiskBytes   int64     // what Disk yields
	Disk        io.Reader //
	Progress    func(doneBytes int64)
}

// Member is a small file in a box.
type Member struct {
	Name    string
	Content []byte
}

// Write writes the box to path: whole, or not at all.
func (b Box) Write(ctx context.Context, job target.Job, path string) (sum tarball.Sum, err error) {
	metadata, err := b.Metadata.JSON()
	if err != nil {
		return sum, err
	}
	box, err := vagrantbox.Create(path, b.Form, seal(job))
	if err != nil {
		return sum, err
	}
	defer box.Abort()
	box.OnProgress(b.Progress)
	for _, small := range []Member{{vagrantbox.MetadataName, metadata}, {"Vagrantfile", []byte(b.Vagrantfile)}, b.Machine} {
		if small.Name == "" {
			continue
		}
		if err := box.AddBytes(ctx, small.Name, small.Content); err != nil {
			return sum, err
		}
	}
	if err := box.Add(ctx, b.DiskName, b.DiskBytes, b.Disk); err != nil {
		return sum, err
	}
	return box.Commit(ctx)
}
