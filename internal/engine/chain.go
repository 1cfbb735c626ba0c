package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
)

// Chain is a disk in parts: a raw base, and layers on top of it, each a qcow2
// file with what one step changed. The files lie in one folder and name each
// other relative to it, so a layer that comes out of a cache fits again.
//
// A layer means nothing without the very bytes below it. So each has an id of
// its own, and knows the id of the one that it was made on.
type Chain struct {
	dir string
	ids []string // of the base and the layers
}

// baseName is the raw disk below all layers.
const baseName = "base.raw"

// NewChain is a chain without layers in the folder dir, whose base is made by
// the caller, at Base. Two bases of one id must have the same bytes.
func NewChain(dir, baseID string) *Chain { return &Chain{dir: dir, ids: []string{baseID}} }

// Base is where the raw disk lies.
func (c *Chain) Base() string { return filepath.Join(c.dir, baseName) }

// Layers is how many there are.
func (c *Chain) Layers() int { return len(c.ids) - 1 }

// Layer is where layer n lies, counted from 1.
func (c *Chain) Layer(n int) string { return filepath.Join(c.dir, layerName(n)) }

func layerName(n int) string {
	if n == 0 {
		return baseName
	}
	return fmt.Sprintf("layer-%d.qcow2", n)
}

// last is the id of the topmost part.
func (c *Chain) last() string { return c.ids[len(c.ids)-1] }

// Forget drops all layers above n.
func (c *Chain) Forget(n int) error {
	var err error
	for ; c.Layers() > n; c.ids = c.ids[:len(c.ids)-1] {
		err = errors.Join(err, os.Remove(c.Layer(c.Layers())))
	}
	return run.Explain(err)
}

// Grow adds an empty layer, and returns its file.
func (c *Chain) Grow(ctx context.Context) (string, error) {
	format := "qcow2"
	if c.Layers() == 0 {
		format = "raw"
	}
	path := c.Layer(c.Layers() + 1)
	err := run.Run(ctx, run.Spec{Dir: c.dir, Argv: []string{
		"qemu-img", "create", "-q", "-f", "qcow2", "-b", layerName(c.Layers()), "-F", format, path,
	}})
	if err != nil {
		return "", fmt.Errorf("make a layer of the disk: %w", err)
	}
	c.ids = append(c.ids, rand.Text())
	return path, nil
}

// Opened is a whole disk that can be read, until Close.
type Opened struct {
	image.Disk
	files []*os.File
	base  *raw.Disk
}

// Close closes the files.
func (o *Opened) Close() error {
	var errs []error
	for _, f := range o.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, o.base.Close())...)
}

// Open opens the disk as it is on top of all layers. No machine may be running
// on it.
func (c *Chain) Open() (*Opened, error) { return c.openAt(c.Layers()) }

// openAt opens the disk as it is on top of the first n layers.
func (c *Chain) openAt(n int) (_ *Opened, err error) {
	base, err := raw.Open(c.Base())
	if err != nil {
		return nil, err
	}
	o := &Opened{Disk: base, base: base}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	for i := 1; i <= n; i++ {
		f, err := os.Open(c.Layer(i))
		if err != nil {
			return nil, run.Explain(err)
		}
		o.files = append(o.files, f)
		info, err := f.Stat()
		if err != nil {
			return nil, run.Explain(err)
		}
		if o.Disk, err = qcow2.OpenOverlay(f, info.Size(), o.Disk); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Layer(i), err)
		}
	}
	return o, nil
}
