// Package failure keeps what a failed build leaves behind to be understood by:
// the failure bundle, one folder beside the results.
//
//	failure/README.txt                     what failed, and what is here
//	failure/plan.json                      what was to be built
//	failure/timings.json                   what took how long, up to the failure
//	failure/logs/02-install-tools.log      what the failed step printed
//	failure/golden.box/screen.png          the machine's last screen
//	failure/golden.box/serial.log          its serial console
//	failure/golden.box/reproduce.sh        the command that starts it again
//
// A Recorder stands between a build and its Reporter and remembers; Write makes
// the folder from it; KeepMachine adds what is left of a machine.
//
//	recorder := failure.Record(reporter)
//	err := build(recorder)
//	if err != nil {
//		err = failure.Write(dir, failure.Cause{Err: err, Recorder: recorder, Secrets: secrets})
//	}
//
// What a guest printed is bounded, printable and masked. It refuses to follow
// a name out of its folder.
package failure

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/run"
)

// The names in a bundle.
const (
	Dir         = "failure" // of the bundle itself, in an output folder
	IndexFile   = "README.txt"
	planFile    = "plan.json"
	timingsFile = "timings.json"
	logsDir     = "logs"
	ScreenFile  = "screen.png"
	SerialFile  = "serial.log"
	ScriptFile  = "reproduce.sh"
)

// Cause is a failure and what is known of it.
type Cause struct {
	Err      error
	Recorder *Recorder // nil: there are no logs and no timings
	Plan     []byte    // in JSON; empty: there is none
	Secrets  *redact.Set
}

// Write completes the bundle in dir, to which KeepMachine may have added
// already, and returns the cause with a line that says where it is.
func Write(dir string, c Cause) error {
	if err := write(dir, c); err != nil {
		return errors.Join(c.Err, fmt.Errorf("the failure bundle %s is incomplete: %w", dir, err))
	}
	return &Error{Err: c.Err, Dir: dir}
}

// Error is a failure with a bundle.
type Error struct {
	Err error
	Dir string
}

// Unwrap returns the failure.
func (e *Error) Unwrap() error { return e.Err }

// Error says where to look.
func (e *Error) Error() string {
	return fmt.Sprintf("%v\n  more is in %s; %s there says what is what", e.Err, e.Dir, IndexFile)
}

func write(dir string, c Cause) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return run.Explain(err)
	}
	if len(c.Plan) > 0 {
		if err := place(filepath.Join(dir, planFile), c.Plan); err != nil {
			return err
		}
	}
	if c.Recorder != nil {
		timings, err := json.MarshalIndent(c.Recorder.Timings(), "", "  ")
		if err != nil {
			return err
		}
		if err := place(filepath.Join(dir, timingsFile), append([]byte(c.Secrets.String(string(timings))), '\n')); err != nil {
			return err
		}
		if err := c.Recorder.writeLogs(filepath.Join(dir, logsDir), c.Secrets); err != nil {
			return err
		}
	}
	return Index(dir, c.Err, c.Secrets)
}

// Remove takes an old bundle away.
func Remove(dir string) error { return run.Explain(os.RemoveAll(dir)) }

// Entry is a file of a bundle.
type Entry struct {
	Path      string // from the bundle's folder, with slashes
	SizeBytes int64
	About     string // in a few words
}

// List names what a bundle holds, in the order of the paths.
func List(dir string) ([]Entry, error) {
	var entries []Entry
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		path, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		entries = append(entries, Entry{Path: path, SizeBytes: info.Size(), About: about(path)})
		return nil
	})
	return entries, err
}

func about(path string) string {
	switch name := filepath.Base(path); {
	case path == IndexFile:
		return "this list"
	case path == planFile:
		return "what was to be built, resolved"
	case path == timingsFile:
		return "what took how long, up to the failure"
	case strings.HasPrefix(path, logsDir+"/"):
		return "what the part that failed printed"
	case name == ScreenFile:
		return "the machine's last screen"
	case name == SerialFile:
		return "the machine's serial console"
	case name == ScriptFile:
		return "starts the same machine again, on this computer"
	}
	return "kept with the failure"
}

// Index writes the bundle's index: whose problem it is, the error, the files.
func Index(dir string, cause error, secrets *redact.Set) error {
	entries, err := List(dir)
	if err != nil {
		return run.Explain(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "imagebuild failed. It is a problem of: %s.\n\n", fault.KindOf(cause))
	for line := range strings.Lines(run.Printable(secrets.String(cause.Error()))) {
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
	b.WriteString("\nWhat is here:\n\n")
	for _, e := range entries {
		if e.Path != IndexFile {
			fmt.Fprintf(&b, "  %-44s %10d bytes  %s\n", e.Path, e.SizeBytes, e.About)
		}
	}
	b.WriteString("\nWhat a guest printed is cut off where it was too much; sensitive values are masked.\nA build that succeeds removes this folder.\n")
	return place(filepath.Join(dir, IndexFile), []byte(b.String()))
}

func place(name string, content []byte) error {
	f, err := run.CreateFile(name)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(content); err != nil {
		return run.Explain(err)
	}
	return f.Commit()
}
