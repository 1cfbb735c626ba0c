// Package build is the spine: it takes a template through the stages of a
// build, as ordinary calls that pass typed results.
//
//	load, plan    template -> plan.Plan             nothing is touched yet
//	check         everything that can be known to fail, at once
//	source        packages -> a root filesystem     cached
//	provision     steps in it, a checkpoint each    cached
//	seal          -> the canonical tree and its tar
//	pack          -> disks, and each platform's files
//	verify        boot each packed file, run the tests
//	publish       images in clouds, if it is asked for
//
// Only after the last of them do files get their names in the output folder.
// Whatever fails, and whenever it is cancelled or killed, nothing is left.
package build

import (
	"time"

	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

// Options is everything that a build is given from outside.
type Options struct {
	Template  string            // path of the template
	Vars      map[string]string // from the command line
	LookupEnv func(string) (string, bool)
	Platforms []string          // names from the template; empty means all
	Arch      string            // empty means all that the template names
	Version   string            // empty means the template's own
	Tag       string            // that is being released; empty means none
	Matrix    map[string]string // of the workflow's job, for ${{ matrix.KEY }}
	Epoch     time.Time         // SOURCE_DATE_EPOCH; zero means the source's own date
	Secrets   *redact.Set
	Generator string // program and version, for the records

	Output     string     // folder for the results, absolute
	CacheDir   string     // absolute
	CacheLimit size.Bytes // least recently used entries above this go
	NoCache    bool       // neither read nor write checkpoints
	// LiveCheckpoints keeps the machine of engine vm, memory and all, after each
	// step, so that the next build goes on without a boot.
	LiveCheckpoints bool
	From            string    // the step, by name or number, from which all run again; empty means the first changed one
	Until           Stage     // last stage to run
	OnError         OnError   // what becomes of a failed build
	ShowShell       ShowShell // for OnError: Shell
	Accel           vm.Accel  // for the boots; empty means vm.Auto
	Publish         bool      // make the images in clouds, after everything else
	Access          target.Access
	RunHint         string // begins the run's name in a cloud's tags: whose run it is
	Report          report.Reporter
}

// DefaultTemplate is the file that a template is looked for in.
const DefaultTemplate = "imagebuild.yml"

// DefaultCacheLimit is how much the checkpoints may take.
const DefaultCacheLimit = 20 * size.GiB

// Stage names a part of a build.
type Stage string

// The stages that a build can be told to stop after.
const (
	StageProvision Stage = "provision"
	StagePack      Stage = "pack"
	StageVerify    Stage = "verify"
)

// Stages lists what Options.Until can be, in order.
var Stages = []Stage{StageProvision, StagePack, StageVerify} //nolint:gochecknoglobals // a constant list
