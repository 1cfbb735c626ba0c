package provision_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
)

// fake is a guest that remembers what was done to it.
type fake struct {
	mu    sync.Mutex
	files map[string]string // path to "mode owner:group content"
	log   []string
	calls int
	// failAt makes the call of that number (from one) fail.
	failAt int
	// run answers a command; nil succeeds. rm always succeeds.
	run func(ctx context.Context, c guest.Command) error
}

var errFake = errors.New("fake failure")

func (f *fake) call(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.log = append(f.log, what)
	if f.calls == f.failAt {
		return errFake
	}
	return nil
}

func (f *fake) Run(ctx context.Context, c guest.Command) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := f.call("run " + strings.Join(c.Argv, " ")); err != nil {
		return err
	}
	if c.Argv[0] == "rm" {
		maps.DeleteFunc(f.files, func(name, _ string) bool { return strings.HasPrefix(name, c.Argv[3]) })
		return nil
	}
	if f.run != nil {
		return f.run(ctx, c)
	}
	return nil
}

func (f *fake) Put(_ context.Context, file guest.File, content io.Reader) error {
	if err := f.call("put " + file.Path); err != nil {
		return err
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if f.files == nil {
		f.files = map[string]string{}
	}
	f.files[file.Path] = fmt.Sprintf("%04o %s:%s %s", file.Mode, file.Owner, file.Group, data)
	return nil
}

func (f *fake) Get(_ context.Context, path string, to io.Writer) error {
	_, err := io.WriteString(to, f.files[path])
	return errors.Join(err, f.call("get "+path))
}

func (f *fake) listing() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		list = append(list, name+" "+f.files[name])
	}
	return list
}

// recorder is a report.Task that remembers.
type recorder struct {
	lines, notes, warnings []string
	bytes                  int
	err                    error
}

func (r *recorder) Begin(string) report.Task { return r }
func (r *recorder) Progress(int64, int64)    {}
func (r *recorder) Line(text string)         { r.lines = append(r.lines, text); r.bytes += len(text) }
func (r *recorder) Note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *recorder) Warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}
func (r *recorder) End(err error) { r.err = err }
