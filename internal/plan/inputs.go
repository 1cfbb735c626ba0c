package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/template"
)

// hasher reads the files that a template names, each once.
type hasher struct {
	file *template.File
	seen map[string][]Input // by absolute path; Path is relative to it
}

// inputs lists the files of a configuration. Paths come from its public form.
func (h *hasher) inputs(ctx context.Context, config template.Config) ([]Input, error) {
	own, public := refs(config.Value), refs(config.Public)
	var all []Input
	for i, ref := range own {
		if ref.Path == "" {
			continue
		}
		found, err := h.read(ctx, h.file.Abs(ref.Path))
		if err != nil {
			return nil, err
		}
		name := ref.Path
		if len(public) == len(own) {
			name = public[i].Path
		}
		name = portable(name)
		for _, in := range found {
			in.Path = path.Join(name, in.Path)
			all = append(all, in)
		}
	}
	return all, nil
}

func refs(config any) []template.FileRef {
	if namer, ok := config.(template.FileNamer); ok {
		return namer.Files()
	}
	return nil
}

// portable takes the folders off an absolute path: they are this machine's.
func portable(name string) string {
	if filepath.IsAbs(name) {
		return path.Join("(absolute)", filepath.Base(name))
	}
	return filepath.ToSlash(filepath.Clean(name))
}

func (h *hasher) read(ctx context.Context, root string) ([]Input, error) {
	if found, ok := h.seen[root]; ok {
		return found, nil
	}
	// What the template names itself may be a symlink; those inside are kept.
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	var all []Input
	err = filepath.WalkDir(resolved, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fault.Wrap(fault.Input, err)
		}
		relative, err := filepath.Rel(resolved, name)
		if err != nil {
			return err
		}
		in, err := readInput(ctx, name, entry)
		in.Path = filepath.ToSlash(relative)
		all = append(all, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	h.seen[root] = all
	return all, nil
}

func readInput(ctx context.Context, name string, entry fs.DirEntry) (Input, error) {
	switch entry.Type() {
	case fs.ModeDir:
		return Input{Type: Folder}, ctx.Err()
	case fs.ModeSymlink:
		to, err := os.Readlink(name)
		sum := sha256.Sum256([]byte(to))
		return Input{Type: Symlink, SHA256: hex.EncodeToString(sum[:])}, fault.Wrap(fault.Input, err)
	case 0:
		return readFile(ctx, name)
	}
	return Input{}, fault.Errorf(fault.Input, "%s is neither a file, a folder nor a symlink; remove it from the folder that the template names", name)
}

func readFile(ctx context.Context, name string) (Input, error) {
	f, err := os.Open(name)
	if err != nil {
		return Input{}, fault.Wrap(fault.Input, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Input{}, fault.Wrap(fault.Input, err)
	}
	h := sha256.New()
	n, err := io.Copy(h, &cancellable{ctx, f})
	if err != nil {
		return Input{}, fault.Wrap(fault.Input, err)
	}
	mode := template.Mode(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	return Input{Mode: mode, SizeBytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// hidePaths replaces the absolute paths of a configuration's plain form.
func hidePaths(plain any, config any) {
	for _, ref := range refs(config) {
		if !filepath.IsAbs(ref.Path) {
			continue
		}
		replace(plain, ref.Path, portable(ref.Path))
	}
}

// replace exchanges every string that is exactly old. It follows the values
// and not the fields, because a path may have been written as a bare scalar.
func replace(node any, old, fresh string) {
	switch n := node.(type) {
	case map[string]any:
		for key, item := range n {
			if item == old {
				n[key] = fresh
			} else {
				replace(item, old, fresh)
			}
		}
	case []any:
		for i, item := range n {
			if item == old {
				n[i] = fresh
			} else {
				replace(item, old, fresh)
			}
		}
	}
}
