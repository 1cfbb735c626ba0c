package provision

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/template"
)

// File puts a file, or what a folder holds, into the guest.
//
// A folder's content goes into the destination, whether or not either path
// ends in a slash: {source: files/etc, destination: /etc} adds to /etc.
// Symlinks are kept as they are, and folders that exist already keep their
// mode and owner. Without a mode, a file gets 0755 if its owner may execute it
// and 0644 otherwise, so that a checkout's umask does not reach the image. A
// destination that ends in a slash takes a single file under its own name.
type File struct {
	Source      string         `yaml:"source" doc:"File or folder, relative to the template. A folder's content goes into the destination."`
	Content     *string        `yaml:"content" doc:"The file's content, instead of a source."`
	Destination string         `yaml:"destination" required:"true" doc:"Absolute path in the image."`
	Mode        *template.Mode `yaml:"mode" doc:"Mode of the files. Default: 0755 for executable files, 0644 for others."`
	DirMode     template.Mode  `yaml:"dir_mode" doc:"Mode of the folders that are made."`
	Owner       string         `yaml:"owner" doc:"User name or number."`
	Group       string         `yaml:"group" doc:"Group name or number. Default: the owner's."`
}

const (
	fileMode = 0o644
	execMode = 0o755
	dirMode  = 0o755
)

// Validate implements template.Validator.
func (f *File) Validate(faults template.Faults) {
	switch {
	case f.Source != "" && f.Content != nil:
		faults.Add("", "has both source and content; keep one of them")
	case f.Source == "" && f.Content == nil:
		faults.Add("", "has neither source nor content; name a file under source, or write it under content")
	}
	switch {
	case f.Destination == "":
	case !path.IsAbs(f.Destination):
		faults.Add("destination", "%q is not an absolute path in the image", f.Destination)
	case f.Content != nil && strings.HasSuffix(f.Destination, "/"):
		faults.Add("destination", "%q is a folder; name the file", f.Destination)
	}
	for _, name := range []string{f.Owner, f.Group} {
		if strings.ContainsAny(name, ":/ \t\n") {
			faults.Add("owner", "%q is not a name or a number; write user and group under keys of their own", name)
		}
	}
	if f.DirMode == 0 {
		f.DirMode = dirMode
	}
}

// Files implements template.FileNamer.
func (f *File) Files() []template.FileRef {
	if f.Source == "" {
		return nil
	}
	return []template.FileRef{{Field: "source", Path: f.Source}}
}

// String names the destination.
func (f *File) String() string { return "file " + f.Destination }

// Check implements Provisioner.
func (f *File) Check(ctx context.Context, job Job) error {
	if f.Source == "" {
		return nil
	}
	return f.each(ctx, job, func(entry) error { return nil })
}

// Apply implements Provisioner.
func (f *File) Apply(ctx context.Context, g guest.Guest, job Job) error {
	if f.Content != nil {
		return g.Put(ctx, f.target(f.Destination, fileMode), strings.NewReader(*f.Content))
	}
	// Folders first, then files, then links: what is put must not go through
	// a link that comes with it.
	var folders, links strings.Builder
	err := f.each(ctx, job, func(e entry) error {
		quoted := run.Quote([]string{e.path})
		switch e.mode.Type() {
		case fs.ModeDir:
			if folders.Len() == 0 { // the destination itself
				fmt.Fprintf(&folders, "mkdir -p %s\n", run.Quote([]string{path.Dir(e.path)}))
			}
			fmt.Fprintf(&folders, "[ -d %s ] || { mkdir %s; chmod %04o %s; own %s; }\n", quoted, quoted, uint32(f.dirMode()), quoted, quoted)
		case fs.ModeSymlink:
			target := run.Quote([]string{e.link})
			fmt.Fprintf(&links, "rm -f %s; ln -s %s %s; own %s\n", quoted, target, quoted, quoted)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := f.script(ctx, g, job, folders.String()); err != nil {
		return err
	}
	err = f.each(ctx, job, func(e entry) error {
		if !e.mode.IsRegular() {
			return nil
		}
		return f.put(ctx, g, e)
	})
	if err != nil {
		return err
	}
	return f.script(ctx, g, job, links.String())
}

// script runs a list of commands, with own as the command that gives a path
// its owner. The list comes by standard input: it may be long.
func (f *File) script(ctx context.Context, g guest.Guest, job Job, commands string) error {
	if commands == "" {
		return nil
	}
	own := "own() { :; }\n"
	if f.Owner != "" || f.Group != "" {
		user := run.Quote([]string{cmp.Or(f.Owner, "root")})
		group := "$(id -g " + user + ")"
		if f.Group != "" {
			group = run.Quote([]string{f.Group})
		}
		own = "owner=" + user + ":" + group + "\nown() { chown -h \"$owner\" \"$1\"; }\n"
	}
	return g.Run(ctx, guest.Command{
		Argv: []string{"/bin/sh", "-eus"}, Stdin: strings.NewReader("umask 022\n" + own + commands), Stdout: job.Output, Stderr: job.Output,
	})
}

func (f *File) put(ctx context.Context, g guest.Guest, e entry) error {
	in, err := os.Open(e.host)
	if err != nil {
		return fault.Wrap(fault.Input, err)
	}
	defer in.Close()
	mode := uint32(fileMode)
	if e.mode&0o100 != 0 {
		mode = execMode
	}
	return g.Put(ctx, f.target(e.path, mode), io.Reader(in))
}

func (f *File) target(name string, mode uint32) guest.File {
	if f.Mode != nil {
		mode = uint32(*f.Mode)
	}
	return guest.File{Path: path.Clean(name), Mode: mode, Owner: f.Owner, Group: f.Group}
}

func (f *File) dirMode() template.Mode {
	if f.DirMode == 0 {
		return dirMode
	}
	return f.DirMode
}

// entry is one member of the source.
type entry struct {
	host string // its path here
	path string // its path in the guest
	mode fs.FileMode
	link string // target of a symlink
}

// each calls fn for the source and all that it holds, in the order of their
// names.
func (f *File) each(ctx context.Context, job Job, fn func(entry) error) error {
	source := job.Abs(f.Source)
	info, err := os.Stat(source)
	if err != nil {
		return fault.Wrap(fault.Input, err)
	}
	if !info.IsDir() {
		destination := f.Destination
		if strings.HasSuffix(destination, "/") {
			destination = path.Join(destination, filepath.Base(source))
		}
		if !info.Mode().IsRegular() {
			return fault.Errorf(fault.Input, "%s is neither a file nor a folder", f.Source)
		}
		return fn(entry{host: source, path: destination, mode: info.Mode()})
	}
	if source, err = filepath.EvalSymlinks(source); err != nil {
		return fault.Wrap(fault.Input, err)
	}
	return filepath.WalkDir(source, func(host string, d fs.DirEntry, err error) error {
		if err != nil {
			return fault.Wrap(fault.Input, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		relative, err := filepath.Rel(source, host)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return fault.Wrap(fault.Input, err)
		}
		e := entry{host: host, path: path.Join(f.Destination, filepath.ToSlash(relative)), mode: info.Mode()}
		switch e.mode.Type() {
		case 0, fs.ModeDir:
		case fs.ModeSymlink:
			if e.link, err = os.Readlink(host); err != nil {
				return fault.Wrap(fault.Input, err)
			}
		default:
			return fault.Errorf(fault.Input, "%s is neither a file, a folder nor a symlink; leave it out of the source", host)
		}
		return fn(e)
	})
}
