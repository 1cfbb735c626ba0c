package release

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/template"
)

// CellFormat is the version of a cell's JSON.
const CellFormat = "imagebuild-cell/1"

// maxCellBytes bounds a cell's JSON: the largest plan has 256 cells and names
// all of them twice.
const maxCellBytes = 1 << 20

// Ref names a cell among all that can be on a release.
type Ref struct {
	Name     string `json:"name"` // of the image
	Platform string `json:"platform"`
	Arch     string `json:"arch"`
}

// String is the cell's name for people.
func (r Ref) String() string { return r.Name + " " + r.Platform + " " + r.Arch }

func (r Ref) compare(other Ref) int {
	return cmp.Or(cmp.Compare(r.Name, other.Name), cmp.Compare(r.Platform, other.Platform), cmp.Compare(r.Arch, other.Arch))
}

// Job is the place of a cell in a workflow's matrix.
type Job struct {
	Index int `json:"index"` // from zero on
	Total int `json:"total"`
	// Key tells two matrices apart that publish to the same release: the
	// workflow's path and the job's id.
	Key string `json:"key,omitempty"`
}

// File is one asset.
type File struct {
	Name      string `json:"name"`
	SizeBytes int64  `json:"size_bytes"`
	SHA256    string `json:"sha256"` // lower-case hex
}

// Proof is how an artifact was proved.
type Proof struct {
	Accel       string  `json:"accel"`
	BootSeconds float64 `json:"boot_seconds"`
	Tests       int     `json:"tests"` // all of which passed
}

// Artifact is one result of a cell.
type Artifact struct {
	image.Artifact
	Parts []File `json:"parts,omitempty"` // of a file that is too large for one asset
	Proof *Proof `json:"proof,omitempty"`
}

// Cell is everything that others need to know of a cell: to see whether it is
// complete, and to close a release without its files.
type Cell struct {
	Format string `json:"format"`
	Ref
	Version    string      `json:"version"`
	Type       string      `json:"type"` // the platform's kind
	PlanDigest string      `json:"plan_digest"`
	CellDigest string      `json:"cell_digest"`
	TreeSHA256 string      `json:"tree_sha256"`         // of the canonical tar, or of the disk that is kept
	KeptDisk   bool        `json:"kept_disk,omitempty"` // as a machine left it: another build of the plan may have other bytes
	Artifacts  []Artifact  `json:"artifacts"`
	Manifest   *File       `json:"manifest,omitempty"`
	Record     *File       `json:"record,omitempty"` // of what was made in a cloud
	Generator  string      `json:"generator"`
	Template   []Ref       `json:"template"` // every cell of the template
	Built      []Ref       `json:"built"`    // the cells that came with this one, itself included
	Job        *Job        `json:"job,omitempty"`
	Vagrant    VagrantPlan `json:"vagrant"`
}

// VagrantPlan is the template's release.vagrant.
type VagrantPlan = template.VagrantRelease

// prefix is how the names of the cell's assets begin.
func (c *Cell) prefix() string {
	return c.Name + "-" + c.Version + "-" + c.Platform + "-" + c.Arch
}

// AssetName is the name of the cell's JSON.
func (c *Cell) AssetName() string { return c.prefix() + ".json" }

// Files lists the assets that the cell's JSON promises.
func (c *Cell) Files() []File {
	var files []File
	for _, a := range c.Artifacts {
		switch {
		case len(a.Parts) > 0:
			files = append(files, a.Parts...)
		case a.Path != "":
			files = append(files, File{Name: a.Name, SizeBytes: a.SizeBytes, SHA256: a.SHA256})
		}
	}
	for _, each := range []*File{c.Manifest, c.Record} {
		if each != nil {
			files = append(files, *each)
		}
	}
	return files
}

// JSON renders the cell: the same bytes for the same cell.
func (c *Cell) JSON() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fault.Errorf(fault.Bug, "the description of cell %s: %w", c.Ref, err)
	}
	return encode(c)
}

// encode renders v for people, without HTML's escapes.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return nil, fault.Wrap(fault.Bug, err)
	}
	return out.Bytes(), nil
}

// ParseCell reads the JSON of a cell from a release, which anyone with the
// right to push may have put there: every word that ends up in a name, a URL
// or a table is checked. The second result is false for JSON that is not a
// cell's at all.
func ParseCell(assetName string, text []byte) (*Cell, bool, error) {
	var c Cell
	if len(text) > maxCellBytes {
		return nil, false, nil
	}
	var head struct {
		Format string `json:"format"`
	}
	if json.Unmarshal(text, &head) != nil || head.Format != CellFormat {
		return nil, false, nil
	}
	err := json.Unmarshal(text, &c)
	if err == nil {
		err = c.check()
	}
	if err == nil && c.AssetName() != assetName {
		err = fmt.Errorf("it describes %s", c.AssetName())
	}
	if err != nil {
		return nil, true, fault.Errorf(fault.Input, "the asset %s is not what a build wrote: %w; remove it from the release and run its job again", assetName, err)
	}
	return &c, true, nil
}

// Patterns of the words that a cell is made of. Names and versions are the
// template's; an asset's name is what GitHub leaves as it is.
var (
	namePattern    = regexp.MustCompile(template.NamePattern)                   //nolint:gochecknoglobals // a constant
	versionPattern = regexp.MustCompile(template.VersionPattern)                //nolint:gochecknoglobals // a constant
	wordPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)    //nolint:gochecknoglobals // a constant
	assetPattern   = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}$`) //nolint:gochecknoglobals // a constant
	digestPattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)                       //nolint:gochecknoglobals // a constant
	branchPattern  = regexp.MustCompile(template.BranchPattern)                 //nolint:gochecknoglobals // a constant
)

func (c *Cell) check() error {
	if err := c.Ref.check(); err != nil {
		return err
	}
	switch {
	case !versionPattern.MatchString(c.Version):
		return fmt.Errorf("%q is not a version", c.Version)
	case !wordPattern.MatchString(c.Type):
		return fmt.Errorf("%q is not a type of platform", c.Type)
	case !digestPattern.MatchString(c.PlanDigest), !digestPattern.MatchString(c.CellDigest):
		return fmt.Errorf("the digest of its plan is missing")
	case len(c.Artifacts) == 0:
		return fmt.Errorf("it has no artifacts")
	case !branchPattern.MatchString(c.Vagrant.Pages):
		return fmt.Errorf("%q is not a branch", c.Vagrant.Pages)
	case c.Job != nil && (c.Job.Total < 1 || c.Job.Total > maxJobs || c.Job.Index < 0 || c.Job.Index >= c.Job.Total):
		return fmt.Errorf("job %d of %d", c.Job.Index, c.Job.Total)
	}
	for _, list := range [][]Ref{c.Template, c.Built} {
		if !slices.Contains(list, c.Ref) {
			return fmt.Errorf("it is not on its own list of cells")
		}
		for _, ref := range list {
			if err := ref.check(); err != nil {
				return err
			}
		}
	}
	seen := map[string]bool{c.AssetName(): true}
	for _, f := range c.Files() {
		if err := f.check(); err != nil {
			return err
		}
		if seen[f.Name] {
			return fmt.Errorf("it names %s twice", f.Name)
		}
		seen[f.Name] = true
	}
	for i := range c.Artifacts {
		if err := c.Artifacts[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// maxJobs is how many jobs GitHub runs for one matrix.
const maxJobs = 256

func (r Ref) check() error {
	if !namePattern.MatchString(r.Name) || !wordPattern.MatchString(r.Platform) || !wordPattern.MatchString(r.Arch) {
		return fmt.Errorf("%q is not the name of a cell", r.String())
	}
	return nil
}

func (f File) check() error {
	if !assetPattern.MatchString(f.Name) || f.SizeBytes < 0 || !digestPattern.MatchString(f.SHA256) {
		return fmt.Errorf("%q of %d bytes with digest %q is not an asset", f.Name, f.SizeBytes, f.SHA256)
	}
	return nil
}

func (a *Artifact) check() error {
	if !wordPattern.MatchString(string(a.Kind)) || a.Provider != "" && !wordPattern.MatchString(a.Provider) {
		return fmt.Errorf("artifact %q has kind %q and provider %q", a.Name, a.Kind, a.Provider)
	}
	if a.Path == "" { // a remote object
		if !wordPattern.MatchString(a.Reference) || !wordPattern.MatchString(a.Region) {
			return fmt.Errorf("artifact %q is neither a file nor a reference with its region", a.Name)
		}
		return nil
	}
	if err := (File{a.Name, a.SizeBytes, a.SHA256}).check(); err != nil {
		return err
	}
	var sum int64
	for i, part := range a.Parts {
		if part.Name != partName(a.Name, i) || part.SizeBytes <= 0 {
			return fmt.Errorf("part %d of %s is called %q", i+1, a.Name, part.Name)
		}
		sum += part.SizeBytes
	}
	if len(a.Parts) > 0 && sum != a.SizeBytes {
		return fmt.Errorf("the parts of %s have %d bytes, not %d", a.Name, sum, a.SizeBytes)
	}
	return nil
}

// sameWork tells whether another JSON of the same cell promises the same
// artifacts. How long a boot took, or which job it was, is no difference.
func (c *Cell) sameWork(other *Cell) bool {
	return c.Ref == other.Ref && c.Version == other.Version && c.CellDigest == other.CellDigest &&
		slices.Equal(c.Files(), other.Files()) && slices.Equal(c.remotes(), other.remotes())
}

// remotes lists the cell's remote objects.
func (c *Cell) remotes() []image.Artifact {
	var list []image.Artifact
	for _, a := range c.Artifacts {
		if a.Path == "" {
			list = append(list, a.Artifact)
		}
	}
	return list
}
