// Package plan turns a template, the files that it names and the versions of
// the tools into one value that decides every byte of the images: the Plan.
//
//	p, err := plan.New(ctx, file, plan.Options{Epoch: commitTime, Tools: versions})
//	for _, tree := range p.Trees { ... }
//
// The digests cover what decides the bytes and nothing else. They cover names,
// versions, architectures, the epoch, tool versions, configurations with their
// defaults, the step's environment, and the content of named files. They do not
// cover descriptions, step names, timeouts, retries, tests, the release section,
// the order of keys, where the checkout lies, or fields tagged digest:"-". Of a
// file's mode only the executable bit counts, as in git: the rest is the umask's.
// A sensitive value is represented by its name: a changed secret alone does not
// change the plan, and nobody can guess it from a digest.
//
// It refuses nothing that the template package accepts, but for files that
// cannot be read and choices that match no platform.
package plan

import (
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
)

// Format is the version of plan.json and of the digests' encoding.
const Format = 1

// Options is what a plan depends on besides the template.
type Options struct {
	Platforms     []string                    // to build; empty means all
	Archs         []string                    // to build; empty means all
	Vars          map[string]string           // variables from the command line
	Env           func(string) (string, bool) // the environment; nil means empty
	Version       string                      // of the image; empty means the template's
	Tag           string                      // that is being released; empty means none
	Matrix        map[string]string           // of the workflow's job
	Epoch         time.Time                   // SOURCE_DATE_EPOCH
	Tools         map[string]string           // name to version, of the tools that decide bytes and no others
	GuestPackages []string                    // installed when the template wants guest tools
	Redact        *redact.Set                 // learns the sensitive values
}

// Plan is what a build is going to do.
type Plan struct {
	Format          int               `json:"format"`
	Name            string            `json:"name"`
	Version         string            `json:"version"`
	SourceDateEpoch int64             `json:"source_date_epoch"` // Unix seconds; zero: the date of the source
	Tools           map[string]string `json:"tools,omitempty"`
	Trees           []*Tree           `json:"trees"`
	Cells           []*Cell           `json:"cells"`    // in the order of the template, architectures innermost
	Template        []CellName        `json:"template"` // every cell of the template, chosen or not, in that order
	Release         template.Release  `json:"release"`
	Differences     []Difference      `json:"differences,omitempty"`
	Digest          string            `json:"digest"` // over all cells
}

// Tree is a root filesystem and its disk: the work that several cells share.
// Of a disk that is kept, its ID decides what is done to it, not its bytes.
type Tree struct {
	ID         string            `json:"id"` // lower-case hex; decides every byte of the canonical disk
	Arch       string            `json:"arch"`
	Engine     template.Engine   `json:"engine"`
	Disk       template.Disk     `json:"disk,omitzero"`
	KeepsDisk  bool              `json:"keeps_disk,omitempty"`  // the source's disk is the image's
	Machine    *template.Machine `json:"machine,omitempty"`     // with engine vm; decides nothing
	GuestTools []string          `json:"guest_tools,omitempty"` // packages
	Source     Source            `json:"source"`
	Steps      []Step            `json:"steps,omitempty"`
}

// Source is what a tree starts from.
type Source struct {
	Kind   string  `json:"kind"`
	Config any     `json:"-"` // a pointer to the kind's own type
	Public any     `json:"config,omitempty"`
	Inputs []Input `json:"inputs,omitempty"`
	Digest string  `json:"digest"` // the key of the checkpoint before the first step
}

// Step is one provisioner or one test.
type Step struct {
	Name      string            `json:"name"`
	Field     string            `json:"field"` // where it stands in the template, as "provision[2]"
	Kind      string            `json:"kind"`
	Config    any               `json:"-"` // a pointer to the kind's own type
	Public    any               `json:"config,omitempty"`
	Env       map[string]string `json:"-"`
	PublicEnv map[string]string `json:"env,omitempty"`
	Timeout   Duration          `json:"timeout"`
	Retries   int               `json:"retries,omitempty"`
	Inputs    []Input           `json:"inputs,omitempty"`
	Digest    string            `json:"digest,omitempty"` // the key of the checkpoint after the step; tests have none
}

// Duration prints as people write it.
type Duration time.Duration

// String leaves zero minutes and seconds out: "5m", not "5m0s".
func (d Duration) String() string {
	text := time.Duration(d).String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Types of an Input that is not a file.
const (
	Folder  = "folder"
	Symlink = "symlink"
)

// Input is a file that the template names, or that lies in a folder that it
// names.
type Input struct {
	Path      string        `json:"path"` // as the template has it; absolute paths lose their folders
	Type      string        `json:"type,omitempty"`
	Mode      template.Mode `json:"mode,omitempty"` // 0755 or 0644, of files
	SizeBytes int64         `json:"size_bytes,omitempty"`
	SHA256    string        `json:"sha256,omitempty"` // of a file's content or a symlink's target, lower-case hex
}

// CellName names a cell of a template.
type CellName struct {
	Platform string `json:"platform"`
	Arch     string `json:"arch"`
}

// Cell is one platform and architecture: one job of the matrix.
type Cell struct {
	Platform string  `json:"platform"` // its name in the template
	Type     string  `json:"type"`     // its kind
	Arch     string  `json:"arch"`
	Config   any     `json:"-"` // a pointer to the kind's own type
	Public   any     `json:"config,omitempty"`
	Inputs   []Input `json:"inputs,omitempty"`
	TreeID   string  `json:"tree"`
	Origin   string  `json:"origin,omitempty"` // what a source that is looked up was found to be, once it was
	Tree     *Tree   `json:"-"`
	Tests    []Step  `json:"tests,omitempty"`
	Digest   string  `json:"digest"` // decides every byte of the cell's artifacts
}

// Difference is something that the template declares to differ between
// platforms.
type Difference struct {
	Step      string   `json:"step"`      // its name
	Field     string   `json:"field"`     // where it stands in the template
	Platforms []string `json:"platforms"` // that have it, or have it their own way
	Reason    string   `json:"reason"`
}

// Identity derives the identifiers of the tree's disk: the same in every cell
// that shares the tree.
func (t *Tree) Identity() target.Identity { return identity(t.ID) }

// Identity derives the identifiers of the cell's artifacts. They are the
// tree's: a disk is the same in every box that holds it.
func (c *Cell) Identity() target.Identity { return identity(c.TreeID) }

// Pin makes what a cell's source was found to be a part of the cell's digest,
// and of the plan's. A plan looks nothing up, so a source that is named by a
// rule ("the newest of that name") gets its identity when it is built. decides
// is false for a source that is pinned by the template itself.
func (p *Plan) Pin(cell *Cell, origin string, decides bool) error {
	cell.Origin = origin
	if !decides {
		return nil
	}
	var err error
	if cell.Digest, err = digest("pinned cell", map[string]any{"cell": cell.Digest, "origin": origin}); err != nil {
		return err
	}
	return p.digest()
}

// Cell returns the cell of a platform and architecture, or nil.
func (p *Plan) Cell(platform, arch string) *Cell {
	for _, cell := range p.Cells {
		if cell.Platform == platform && cell.Arch == arch {
			return cell
		}
	}
	return nil
}
