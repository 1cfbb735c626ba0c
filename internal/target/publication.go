package target

import (
	"context"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/journal"
)

// Access is how a build comes to be allowed anything in a cloud, besides what
// the cloud's own tools find in the environment.
type Access struct {
	// AWSRole is the ARN of a role to assume with an IDToken; empty for none.
	AWSRole string
	// IDToken gets a fresh OIDC token of the workflow's job for an audience;
	// nil outside of one.
	IDToken func(ctx context.Context, audience string) (string, error)
	// Agent is our name and version, for the cloud's logs.
	Agent string
}

// Publication is a disk on its way into a cloud.
type Publication struct {
	Job
	Platform   string // its name in the template
	PlanDigest string // of the whole plan, lower-case hex
	CellDigest string // of what decides the bytes and what they are registered as
	DiskBytes  int64  // of the disk, which need not be there yet
	Firmware   string // what the disk can be started by: "bios", "uefi" or "bios+uefi"
	Access     Access
	// Run names this run of the program in tags and in the journal.
	Run     string
	Journal *journal.Journal
	// Undo registers what takes back all that is made, if the build fails later.
	Undo func(what string, fn func(context.Context) error)
}

// Published is what is there in the end.
type Published struct {
	Artifacts []image.Artifact
	Found     bool // they were there, finished and proved by the run that made them
	// Record is a JSON document for people and other programs.
	RecordName string
	Record     []byte
}

// Sweep is a search for what dead runs left in a cloud.
type Sweep struct {
	Access     Access
	Dead       []*journal.Run // whose journals are on this machine
	Regions    []string       // to look into besides the journals' own
	OlderThan  int64          // seconds after which a run without a journal here is over
	OnlyReport bool           // remove nothing
}

// Leftover is one thing that a dead run left.
type Leftover struct {
	Kind   string `json:"kind"`
	Region string `json:"region"`
	ID     string `json:"id"`
	Run    string `json:"run"`
	Gone   bool   `json:"removed"`
}
