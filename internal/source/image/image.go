// Package image starts from a disk that is there already: a file or a download,
// as a disk image (raw, qcow2, VMDK, VHD, VHDX), compressed or not, or inside a
// Vagrant box or an OVA. Its content says what it is, not its name.
//
//	source:
//	  image:
//	    url: https://cloud.example.org/debian-12-generic-amd64.qcow2
//	    checksum: sha512:6a57...
//
// A download needs its digest, or a signed list of digests; see package fetch.
// It refuses disks that draw on other files, and images whose content it does
// not know. What is on the disk is package extract's matter.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/fetch"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/template"
)

// Config is what stands under source.image.
type Config struct {
	fetch.Config
	Canonical bool `yaml:"canonical" doc:"Take the files off the disk and make a new, reproducible one of them. False keeps the disk as the steps leave it, with all its partitions and whatever is on them; that takes engine: vm, and is not reproducible."`
}

// New returns a configuration with its defaults.
func New() *Config { return &Config{Canonical: true} }

var _ interface {
	template.Validator
	template.FileNamer
	template.DiskKeeper
} = (*Config)(nil)

// Validate implements template.Validator.
func (c *Config) Validate(faults template.Faults) { c.ValidateFile(faults) }

// Files implements template.FileNamer.
func (c *Config) Files() []template.FileRef { return c.FileRefs() }

// KeepsDisk implements template.DiskKeeper.
func (c *Config) KeepsDisk() bool { return !c.Canonical }

// HasDisk implements template.DiskKeeper.
func (c *Config) HasDisk() bool { return true }

// Request is what a build asks of the source, besides its configuration.
type Request struct {
	Arch        string // Debian's spelling; nothing checks it
	TemplateDir string // where relative paths of the template start
	CacheDir    string // absolute; made when missing
}

// Image is a source with its configuration.
type Image struct {
	config  Config
	request Request
	file    fetch.Request
	digest  string // once known
}

// Open returns the source that config describes. Nothing is touched yet.
func Open(config *Config, request Request) *Image {
	return &Image{config: *config, request: request, file: config.Request(request.TemplateDir, request.CacheDir)}
}

// String names the image's file.
func (i *Image) String() string {
	if i.config.Path != "" {
		return "image " + filepath.Base(i.config.Path)
	}
	return "image " + path.Base(fetch.Shown(i.config.URL))
}

// Check implements source.Source.
func (i *Image) Check(context.Context) error {
	if i.config.Keyring == "" {
		return nil
	}
	return fetch.CheckTools()
}

// Key identifies the disk: by its file's digest, which the template or a signed
// list names, or which is taken of a local file now.
func (i *Image) Key(ctx context.Context) (string, error) {
	if i.digest == "" {
		digest, err := fetch.Digest(ctx, i.file)
		if err != nil {
			return "", err
		}
		// What is fetched has to be what the key says, whatever a list says later.
		i.digest, i.file.Checksum, i.file.ChecksumsURL = digest, digest, ""
	}
	sum := sha256.Sum256([]byte("imagebuild image 1\n" + i.request.Arch + "\n" + i.digest))
	return hex.EncodeToString(sum[:]), nil
}

// Slow implements source.DiskSource: what takes long is kept as a download.
func (i *Image) Slow() bool { return false }

// WriteDisk implements source.DiskSource.
func (i *Image) WriteDisk(ctx context.Context, path string, task report.Task) (err error) {
	if _, err := i.Key(ctx); err != nil {
		return err
	}
	var file string
	if err := report.Do(task, "fetch "+i.String(), func(task report.Task) error {
		file, err = fetch.Get(ctx, i.file, task)
		return err
	}); err != nil {
		return err
	}
	work, remove, err := run.TempDir(filepath.Dir(path), "image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return report.Do(task, "read the disk", func(task report.Task) error {
		disk, err := artifact.OpenDisk(ctx, file, work, task)
		if err != nil {
			return fmt.Errorf("%s: %w", i, err)
		}
		defer disk.Close() //nolint:errcheck // opened for reading
		w, err := raw.Create(path, disk.Size())
		if err != nil {
			return err
		}
		defer w.Abort()
		if err := raw.Copy(ctx, w, disk, task.Progress); err != nil {
			return fmt.Errorf("%s: %w", i, err)
		}
		return w.Commit()
	})
}
