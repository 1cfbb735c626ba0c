// Package journal keeps on disk what a run has made elsewhere, from before it
// is made until it is meant to stay or is gone again, so that another process
// can clean up after one that was killed.
//
//	j, err := journal.Create(dir, "aws", runID)
//	defer j.Close()
//	err = j.Will(journal.Entry{Kind: "snapshot", Place: "eu-west-1"})
//	id := create()
//	err = j.Made(journal.Entry{Kind: "snapshot", Place: "eu-west-1", ID: id})
//	...
//	err = j.Keep() // it all stays
//
// One file a run, one line an event, each synced before the call returns. The
// run holds the file locked: a file that can be locked is a dead run's, which
// Dead lists. A last line that was cut off is what a killed process leaves, and
// is passed over; any other damage is an error, because nobody should delete
// things on the word of a file like that.
//
// It refuses files over 4 MiB.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/org/imagebuild-action/internal/fault"
)

// Entry is one thing that exists elsewhere.
type Entry struct {
	Kind   string `json:"kind"`             // "snapshot", "image"
	Place  string `json:"place"`            // where, as a cloud's region
	ID     string `json:"id,omitempty"`     // empty until it is known
	Before string `json:"before,omitempty"` // the value that it replaced
}

type event string

const (
	begun event = "begun"
	will  event = "will"
	made  event = "made"
	gone  event = "gone"
)

// line is one event.
type line struct {
	Event event  `json:"event"`
	Run   string `json:"run,omitempty"`
	Owner string `json:"owner,omitempty"`
	Entry
}

// Journal is a living run's. The nil Journal keeps nothing. It is safe for
// concurrent use.
type Journal struct {
	Run string

	mu   sync.Mutex
	file *os.File
}

const extension = ".journal"

// maxBytes bounds what is read back.
const maxBytes = 4 << 20

var runPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Create begins the journal of a run in dir. owner names who can clean up
// ("aws").
func Create(dir, owner, run string) (*Journal, error) {
	if !runPattern.MatchString(run) {
		return nil, fault.Errorf(fault.Bug, "journal: %q is not the name of a run", run)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, explain(err)
	}
	// Nobody takes the file for a dead run's: it is locked before it has its name.
	path := filepath.Join(dir, run+extension)
	file, err := os.OpenFile(path+".part", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, explain(err)
	}
	j := &Journal{Run: run, file: file}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = j.write(line{Event: begun, Run: run, Owner: owner})
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		_ = os.Remove(path + ".part")
		return nil, errors.Join(explain(err), file.Close())
	}
	return j, nil
}

// Will notes that a thing is about to be made: if nothing more is heard of it,
// it may exist.
func (j *Journal) Will(e Entry) error { return j.note(line{Event: will, Entry: e}) }

// Made notes that a thing exists.
func (j *Journal) Made(e Entry) error { return j.note(line{Event: made, Entry: e}) }

// Gone notes that a thing does not exist any more.
func (j *Journal) Gone(e Entry) error { return j.note(line{Event: gone, Entry: e}) }

func (j *Journal) note(l line) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return explain(j.write(l))
}

func (j *Journal) write(l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(append(text, '\n')); err != nil {
		return err
	}
	return j.file.Sync()
}

// Keep ends the journal: what was made stays, or nothing is left.
func (j *Journal) Keep() error {
	if j == nil {
		return nil
	}
	return explain(os.Remove(filepath.Join(filepath.Dir(j.file.Name()), j.Run+extension)))
}

// Close lets go of the file. Unless Keep came before, the run is a dead one now.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}

// Run is a dead run's journal.
type Run struct {
	Name  string
	Owner string
	Made  []Entry // that still exist, oldest first
	Maybe []Entry // that were about to be made

	path string
	lock *os.File
}

// Dead lists the runs of an owner that ended without an end in their journal.
// Close each. Journals of living runs are passed over.
func Dead(dir, owner string) ([]*Run, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+extension))
	if err != nil {
		return nil, fault.Wrap(fault.Bug, err)
	}
	var runs []*Run
	var errs []error
	for _, path := range names {
		run, err := open(path)
		switch {
		case err != nil:
			errs = append(errs, fault.Errorf(fault.Environment, "journal %s: %w; look at it, and remove it when nothing of its run is left", path, err))
		case run == nil:
		case run.Owner != owner:
			errs = append(errs, run.Close())
		default:
			runs = append(runs, run)
		}
	}
	return runs, errors.Join(errs...)
}

// open returns nil for a living run.
func open(path string) (*Run, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil, file.Close()
	}
	text, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil {
		var run *Run
		if run, err = parse(text); err == nil {
			run.path, run.lock = path, file
			return run, nil
		}
	}
	return nil, errors.Join(err, file.Close())
}

// parse reads a journal.
func parse(text []byte) (*Run, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("it is over %d bytes", maxBytes)
	}
	if i := bytes.LastIndexByte(text, '\n'); i+1 < len(text) {
		text = text[:i+1] // cut off by the end of its writer
	}
	run := &Run{}
	for i, each := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		var l line
		decoder := json.NewDecoder(strings.NewReader(each))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&l); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if err := run.apply(i, l); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return run, nil
}

func (r *Run) apply(i int, l line) error {
	if (i == 0) != (l.Event == begun) {
		return fmt.Errorf("the event %q does not belong here", l.Event)
	}
	switch l.Event {
	case begun:
		if !runPattern.MatchString(l.Run) {
			return fmt.Errorf("%q is not the name of a run", l.Run)
		}
		r.Name, r.Owner = l.Run, l.Owner
	case will:
		r.Maybe = append(r.Maybe, l.Entry)
	case made:
		r.Maybe = without(r.Maybe, func(e Entry) bool { return e.Kind == l.Kind && e.Place == l.Place })
		r.Made = append(r.Made, l.Entry)
	case gone:
		r.Made = without(r.Made, func(e Entry) bool { return e.Kind == l.Kind && e.Place == l.Place && e.ID == l.ID })
		if l.ID == "" {
			r.Maybe = without(r.Maybe, func(e Entry) bool { return e.Kind == l.Kind && e.Place == l.Place })
		}
	default:
		return fmt.Errorf("the event %q is unknown", l.Event)
	}
	return nil
}

// without leaves the first entry out that fits.
func without(entries []Entry, fits func(Entry) bool) []Entry {
	for i, each := range entries {
		if fits(each) {
			return append(entries[:i:i], entries[i+1:]...)
		}
	}
	return entries
}

// Remove ends the journal: nothing of the run is left.
func (r *Run) Remove() error { return explain(errors.Join(os.Remove(r.path), r.Close())) }

// Close leaves the journal for another time.
func (r *Run) Close() error {
	if r.lock == nil {
		return nil
	}
	err := r.lock.Close()
	r.lock = nil
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func explain(err error) error {
	if err == nil {
		return nil
	}
	return fault.Errorf(fault.Environment, "journal of what is made remotely: %w; point --cache-dir at a folder that can be written", err)
}
