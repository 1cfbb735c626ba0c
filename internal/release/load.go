package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/manifest"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/template"
)

// Build is an output folder of "imagebuild build", read and checked.
type Build struct {
	Dir      string
	Cells    []*Cell           // as they will be described on the release, but for Job and Parts
	Oversize template.Oversize // what to do with what is too large
	manifest map[string]string // the file in Dir that becomes a cell's manifest or record, by asset name
}

// The records that a build leaves beside its artifacts.
const (
	planName   = "plan.json"
	resultName = "result.json"
	sumsName   = "SHA256SUMS"
)

// maxRecordBytes bounds those records.
const maxRecordBytes = 64 << 20

// planRecord is the part of plan.json that matters here.
type planRecord struct {
	Format  int    `json:"format"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Cells   []struct {
		Platform string `json:"platform"`
		Type     string `json:"type"`
		Arch     string `json:"arch"`
		Tree     string `json:"tree"`
		Digest   string `json:"digest"`
	} `json:"cells"`
	Template []struct {
		Platform string `json:"platform"`
		Arch     string `json:"arch"`
	} `json:"template"`
	Release template.Release `json:"release"`
}

// resultRecord is the part of result.json that matters here.
type resultRecord struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Generator  string `json:"generator"`
	PlanDigest string `json:"plan_digest"`
	Trees      []struct {
		ID        string   `json:"id"`
		Platforms []string `json:"platforms"`
		KeptDisk  bool     `json:"kept_disk"`
		SHA256    string   `json:"sha256"`
		Manifest  string   `json:"manifest"`
	} `json:"trees"`
	Artifacts []image.Artifact `json:"artifacts"`
	Verified  []struct {
		Artifact    string                   `json:"artifact"`
		Accel       string                   `json:"accel"`
		BootSeconds float64                  `json:"boot_seconds"`
		Tests       []struct{ Error string } `json:"tests"`
	} `json:"verified"`
}

// Load reads an output folder and compares every file in it with the size and
// the digest that the build noted.
func Load(ctx context.Context, dir string) (*Build, error) {
	b, err := load(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("output folder %s: %w", dir, err)
	}
	return b, nil
}

func load(ctx context.Context, dir string) (*Build, error) {
	var p planRecord
	var r resultRecord
	if err := readRecord(dir, planName, &p); err != nil {
		return nil, err
	}
	if err := readRecord(dir, resultName, &r); err != nil {
		return nil, err
	}
	switch {
	case p.Format != 1:
		return nil, fault.Errorf(fault.Input, "%s has format %d, and this imagebuild reads 1; build again, or use the imagebuild that built it", planName, p.Format)
	case p.Digest != r.PlanDigest, p.Name != r.Name, p.Version != r.Version:
		return nil, fault.Errorf(fault.Input, "%s and %s are of two builds; build again", planName, resultName)
	case len(r.Artifacts) == 0:
		return nil, fault.Errorf(fault.Input, "the build stopped before it made anything; build without --until provision, and with --publish where all platforms are clouds")
	case len(p.Template) == 0:
		return nil, fault.Errorf(fault.Input, "%s does not say what the template has in all; build again with this imagebuild", planName)
	}
	b := &Build{Dir: dir, Oversize: p.Release.Oversize, manifest: map[string]string{}}
	if b.Oversize == "" {
		b.Oversize = template.Split
	}
	for i := range p.Cells {
		b.Cells = append(b.Cells, b.cell(&p, &r, i))
	}
	return b, b.verify(ctx, r.Artifacts)
}

func readRecord(dir, name string, into any) error {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault.Errorf(fault.Input, "there is no %s; name a folder that imagebuild build wrote", name)
	case err != nil:
		return fault.Wrap(fault.Input, err)
	case !info.Mode().IsRegular() || info.Size() > maxRecordBytes:
		return fault.Errorf(fault.Input, "%s is not a file that imagebuild build wrote", name)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fault.Wrap(fault.Input, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fault.Errorf(fault.Input, "%s: %w; build again", name, err)
	}
	return nil
}

// cell describes the plan's cell number i.
func (b *Build) cell(p *planRecord, r *resultRecord, i int) *Cell {
	from := p.Cells[i]
	c := &Cell{
		Format: CellFormat, Ref: Ref{p.Name, from.Platform, from.Arch}, Version: p.Version, Type: from.Type,
		PlanDigest: p.Digest, CellDigest: from.Digest, Generator: r.Generator, Vagrant: p.Release.Vagrant,
	}
	for _, each := range p.Template {
		c.Template = append(c.Template, Ref{p.Name, each.Platform, each.Arch})
	}
	for _, each := range p.Cells {
		c.Built = append(c.Built, Ref{p.Name, each.Platform, each.Arch})
	}
	slices.SortFunc(c.Template, Ref.compare)
	slices.SortFunc(c.Built, Ref.compare)
	for _, a := range r.Artifacts {
		if a.Platform == c.Platform && a.Arch == c.Arch {
			c.Artifacts = append(c.Artifacts, Artifact{Artifact: a, Proof: r.proof(a.Name)})
		}
	}
	slices.SortFunc(c.Artifacts, func(x, y Artifact) int {
		return strings.Compare(x.Name+"\x00"+x.Region, y.Name+"\x00"+y.Region)
	})
	for _, t := range r.Trees {
		if !slices.Contains(t.Platforms, c.Platform) || t.ID != from.Tree {
			continue
		}
		c.TreeSHA256, c.KeptDisk = t.SHA256, t.KeptDisk
		if t.Manifest != "" {
			c.Manifest = &File{Name: c.prefix() + manifest.Extension}
			b.manifest[c.Manifest.Name] = t.Manifest
		}
	}
	return c
}

// proof is how an artifact was proved, or nil.
func (r *resultRecord) proof(artifact string) *Proof {
	for _, v := range r.Verified {
		if v.Artifact != artifact {
			continue
		}
		for _, test := range v.Tests {
			if test.Error != "" {
				return nil
			}
		}
		return &Proof{Accel: v.Accel, BootSeconds: v.BootSeconds, Tests: len(v.Tests)}
	}
	return nil
}

// verify compares the files with what the build noted of them, twice where it
// noted it twice.
func (b *Build) verify(ctx context.Context, artifacts []image.Artifact) error {
	sums, err := b.sums()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for _, a := range artifacts {
		if a.Path == "" {
			continue
		}
		if a.Path != a.Name || !filepath.IsLocal(a.Path) || filepath.Base(a.Path) != a.Path {
			return fault.Errorf(fault.Input, "%s names the file %q, which is not in the folder itself", resultName, a.Path)
		}
		if sums[a.Path] != a.SHA256 {
			return fault.Errorf(fault.Input, "%s and %s do not agree on %s; build again", resultName, sumsName, a.Path)
		}
		group.Go(func() error {
			_, err := b.fileIs(ctx, a.Path, a.SizeBytes, a.SHA256)
			return err
		})
	}
	for _, c := range b.Cells {
		// What an AMI's platform writes of it gets the cell's name on the release,
		// where it may not be the only one.
		if source := "ami-" + c.Platform + "-" + c.Arch + ".json"; sums[source] != "" && len(c.remotes()) > 0 {
			c.Record = &File{Name: c.prefix() + "-ami.json", SHA256: sums[source]}
			b.manifest[c.Record.Name] = source
			group.Go(func() (err error) {
				c.Record.SizeBytes, err = b.fileIs(ctx, source, -1, sums[source])
				return err
			})
		}
		if c.Manifest == nil {
			continue
		}
		source := b.manifest[c.Manifest.Name]
		if filepath.Base(source) != source || sums[source] == "" {
			return fault.Errorf(fault.Input, "%s does not list the manifest %q; build again", sumsName, source)
		}
		group.Go(func() (err error) {
			c.Manifest.SHA256 = sums[source]
			c.Manifest.SizeBytes, err = b.fileIs(ctx, source, -1, sums[source])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, c := range b.Cells {
		if err := c.check(); err != nil {
			return fault.Errorf(fault.Input, "cell %s: %w; build again", c.Ref, err)
		}
	}
	return nil
}

// fileIs compares one file. A size below zero is not known. It returns the size.
func (b *Build) fileIs(ctx context.Context, name string, sizeBytes int64, digest string) (int64, error) {
	info, err := os.Stat(filepath.Join(b.Dir, name))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, fault.Errorf(fault.Input, "%s is missing; build again", name)
	case err != nil:
		return 0, fault.Wrap(fault.Environment, err)
	case !info.Mode().IsRegular():
		return 0, fault.Errorf(fault.Input, "%s is not a file", name)
	case sizeBytes >= 0 && info.Size() != sizeBytes:
		return 0, fault.Errorf(fault.Input, "%s has %d bytes, and the build wrote %d; build again", name, info.Size(), sizeBytes)
	}
	got, err := section{path: filepath.Join(b.Dir, name), size: info.Size()}.sha256(ctx)
	if err != nil {
		return 0, err
	}
	if got != digest {
		return 0, fault.Errorf(fault.Input, "%s has sha256 %s, and the build wrote %s; build again", name, got, digest)
	}
	return info.Size(), nil
}

// sums reads SHA256SUMS.
func (b *Build) sums() (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(b.Dir, sumsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.Errorf(fault.Input, "there is no %s; name a folder that imagebuild build wrote", sumsName)
	} else if err != nil {
		return nil, run.Explain(err)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(text)) {
		digest, name, ok := strings.Cut(strings.TrimRight(line, "\n"), "  ")
		if !ok || !digestPattern.MatchString(digest) {
			return nil, fault.Errorf(fault.Input, "%s: %q is not a line of sha256sum; build again", sumsName, strings.TrimSpace(line))
		}
		sums[name] = digest
	}
	return sums, nil
}
