package aws

import (
	"encoding/json"
	"fmt"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/target"
)

// Record is ami-PLATFORM-ARCH.json: what was published, for other programs.
type Record struct {
	Name     string        `json:"name"`
	Version  string        `json:"version"`
	Platform string        `json:"platform"`
	Arch     string        `json:"arch"`
	AMIName  string        `json:"ami_name"`
	Plan     string        `json:"plan_digest"`
	Cell     string        `json:"cell_digest"`
	Source   string        `json:"source_ami,omitempty"`    // that an instance was launched of
	Disk     string        `json:"disk_checksum,omitempty"` // base64 of the SHA-256 over the SHA-256 of all 512 KiB blocks that are not zero
	Account  string        `json:"account"`
	Images   []RecordImage `json:"images"`
}

// RecordImage is one region's.
type RecordImage struct {
	Region   string `json:"region"`
	ID       string `json:"image_id"`
	Snapshot string `json:"snapshot_id"`
}

// published says what is there.
func (w *work) published(images []*ami) (target.Published, error) {
	r := Record{
		Name: w.t.Name, Version: w.t.Version, Platform: w.t.Platform, Arch: w.t.Arch, AMIName: w.imageName(w.t),
		Plan: w.t.PlanDigest, Cell: w.t.CellDigest, Source: w.from, Disk: w.sum.Checksum, Account: w.cloud.Account,
	}
	out := target.Published{RecordName: fmt.Sprintf("ami-%s-%s.json", w.t.Platform, w.t.Arch)}
	for _, each := range images {
		r.Images = append(r.Images, RecordImage{each.region, each.id, each.snapshot})
		out.Artifacts = append(out.Artifacts, image.Artifact{
			Name: r.AMIName, Kind: image.AMI, Platform: w.t.Platform, Arch: w.t.Arch, Reference: each.id, Region: each.region, SizeBytes: w.t.DiskBytes, Variant: target.Canonical,
		})
	}
	text, err := json.MarshalIndent(r, "", "  ")
	text = append(text, '\n')
	out.Record = text
	return out, fault.Wrap(fault.Bug, err)
}

// ImageName is the name that the AMI of a cell has, or will have.
func (p *Platform) ImageName(t target.Publication) string { return p.imageName(t) }
