package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/retry"
	"github.com/org/imagebuild-action/internal/run"
)

// place is the file in the cache: its final name, and the part of it that is
// there. The part's lock says who is at work; run.CreateFile has no use here,
// because what it left would be thrown away.
type place struct {
	name string // final
	part *os.File
}

// origin is what the server said when the part was begun, so that it can be
// asked for the rest of the very same file (RFC 9110, section 13.1.5).
type origin struct {
	URL       string `json:"url"`
	Validator string `json:"validator"` // strong ETag, or date of the last change
}

// lockPoll is how often a build looks whether another one is done.
const lockPoll = 200 * time.Millisecond

// open locks the part of name, waiting while another build has it.
func open(ctx context.Context, name string, task report.Task) (*place, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, run.Explain(err)
	}
	for told := false; ; {
		f, err := os.OpenFile(name+".part", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, run.Explain(err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f) {
			return &place{name: name, part: f}, nil
		}
		_ = f.Close()
		if err == nil { // it got its name, or was removed, before we had the lock
			continue
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, run.Explain(err)
		}
		if !told {
			task.Note("another build is downloading it; waiting")
			told = true
		}
		if err := retry.Sleep(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

func sameFile(f *os.File) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(ours, named)
}

// close gives the lock back. An empty part is of no use to anybody.
func (p *place) close() {
	if info, err := p.part.Stat(); err == nil && info.Size() == 0 && sameFile(p.part) {
		_ = os.Remove(p.originName())
		_ = os.Remove(p.part.Name())
	}
	_ = p.part.Close()
}

func (p *place) originName() string { return p.name + ".origin" }

// have is the length of the part, and what it is a part of; 0 if it cannot be
// gone on with.
func (p *place) have(url string) (int64, origin) {
	info, err := p.part.Stat()
	if err != nil {
		return 0, origin{}
	}
	var from origin
	text, err := os.ReadFile(p.originName())
	if err != nil || json.Unmarshal(text, &from) != nil || from.URL != url || from.Validator == "" {
		return 0, origin{}
	}
	return info.Size(), from
}

// restart empties the part and remembers what it will be a part of.
func (p *place) restart(from origin) error {
	if err := p.part.Truncate(0); err != nil {
		return run.Explain(err)
	}
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return run.Explain(os.WriteFile(p.originName(), text, 0o600))
}

// commit gives the part its name.
func (p *place) commit() error {
	err := errors.Join(p.part.Sync(), os.Rename(p.part.Name(), p.name))
	return run.Explain(errors.Join(err, ignoreMissing(os.Remove(p.originName()))))
}

// discard removes the part.
func (p *place) discard() error {
	return run.Explain(errors.Join(p.part.Truncate(0), ignoreMissing(os.Remove(p.originName()))))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
