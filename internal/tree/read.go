package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/org/imagebuild-action/internal/image"
)

// opener is a Tree that finds one entry without walking to it.
type opener interface {
	openEntry(path string, fn func(*image.Entry, io.Reader) error) error
}

var errFound = errors.New("found")

// readAt calls fn with one entry of t and its content. A missing entry is
// fs.ErrNotExist.
func readAt(ctx context.Context, t image.Tree, path string, fn func(*image.Entry, io.Reader) error) error {
	if o, ok := t.(opener); ok {
		return o.openEntry(path, fn)
	}
	err := t.Walk(ctx, func(entry *image.Entry, content io.Reader) error {
		if entry.Path != path {
			return nil
		}
		if err := fn(entry, content); err != nil {
			return err
		}
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return nil
	case err == nil:
		return fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return err
}

// ReadFile returns the content of one file of at most MaxEditBytes. A missing
// file is fs.ErrNotExist; a symlink is not followed, and is an error like
// everything else that is not a file.
func ReadFile(ctx context.Context, t image.Tree, path string) (data []byte, err error) {
	err = readAt(ctx, t, path, func(entry *image.Entry, content io.Reader) error {
		if entry.Type == image.Hardlink {
			data, err = ReadFile(ctx, t, entry.Link)
			return err
		}
		if entry.Type != image.File {
			return fmt.Errorf("%s: it is a %s, not a file", path, entry.Type)
		}
		data, err = readAll(entry, content)
		return err
	})
	return data, err
}
