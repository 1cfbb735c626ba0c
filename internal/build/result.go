package build

import (
	"fmt"
	"slices"
	"time"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/seal"
	"github.com/org/imagebuild-action/internal/vagrant"
	"github.com/org/imagebuild-action/internal/verify"
)

// Result is what a build made, and how; result.json is its JSON form.
type Result struct {
	Name        string            `json:"name"`
	Version     string            `json:"version"`
	Generator   string            `json:"generator"`
	PlanDigest  string            `json:"plan_digest"`
	Tools       map[string]string `json:"tools,omitempty"` // versions of the tools that decided bytes
	Trees       []TreeResult      `json:"trees"`
	Artifacts   []image.Artifact  `json:"artifacts"`
	Verified    []verify.Result   `json:"verified"`
	Found       []string          `json:"found,omitempty"` // names of artifacts in clouds that a run before has made and proved
	Differences []plan.Difference `json:"differences"`     // between platforms, all of them declared
	Stages      []StageTime       `json:"stages"`
	Seconds     float64           `json:"seconds"`
}

// TreeResult is one root filesystem; platforms with equal steps share it.
type TreeResult struct {
	ID        string               `json:"id"` // as the plan has it
	Platforms []string             `json:"platforms"`
	Epoch     int64                `json:"source_date_epoch"`   // seconds since 1970; no file is newer
	KeptDisk  bool                 `json:"kept_disk,omitempty"` // a machine's own disk: the digest and the size are the disk's
	SHA256    string               `json:"sha256"`              // of the canonical tar
	Entries   int                  `json:"entries"`             // zero where a kept disk's files cannot be read
	SizeBytes int64                `json:"size_bytes"`
	Manifest  string               `json:"manifest"`                  // file name of the content manifest
	Overlay   []vagrant.Difference `json:"vagrant_overlay,omitempty"` // what the boxes have besides
	Steps     []StepResult         `json:"steps"`
	Sealed    seal.Summary         `json:"sealed"` // what was taken out or emptied, and why
}

// StepResult is one provisioning step.
type StepResult struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Cached  bool    `json:"cached"` // taken from a checkpoint
}

// StageTime is how long a stage took.
type StageTime struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
}

// Proof says in a few words how an artifact was proved.
func (r *Result) Proof(artifact string) string {
	for _, v := range r.Verified {
		if v.Artifact == artifact {
			return fmt.Sprintf("booted in %.0f s (%s), %d tests passed", v.BootSeconds, v.Accel, len(v.Tests))
		}
	}
	if slices.Contains(r.Found, artifact) {
		return "made and proved by a run before"
	}
	return "not booted"
}

// stage runs fn as a named stage and records its time.
func (b *builder) stage(name string, fn func(report.Task) error) error {
	start := time.Now()
	err := report.Do(b.Report, name, fn)
	b.result.Stages = append(b.result.Stages, StageTime{name, seconds(start)})
	return err
}

// seconds is the time since start, to the millisecond.
func seconds(start time.Time) float64 { return time.Since(start).Round(time.Millisecond).Seconds() }
