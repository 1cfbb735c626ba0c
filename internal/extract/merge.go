package extract

import (
	"context"
	"errors"
	"io"
	"iter"
	"path"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
)

// merged is a Tree of file systems that are mounted on each other.
type merged struct {
	layers  []layer // the root first
	dropped []string
	fstab   string // instead of the root's own, if lines were dropped
}

// layer is a file system and where it is mounted.
type layer struct {
	at   string // "." is the root
	tree fileSystem
}

// fileSystem is one that can be read.
type fileSystem interface {
	image.Tree
	Lookup(name string) (*image.Entry, error)
}

// path is where an entry of the layer is in the whole.
func (l layer) path(name string) string { return path.Join(l.at, name) }

// holds tells whether a path is the layer's mount point or below it.
func (l layer) holds(name string) bool {
	return l.at == "." || name == l.at || strings.HasPrefix(name, l.at+"/")
}

// under finds the layer that a path is in, and its name there.
func (m *merged) under(name string) (fileSystem, string) {
	best := m.layers[0]
	for _, l := range m.layers[1:] {
		if l.holds(name) && len(l.at) >= len(best.at) {
			best = l
		}
	}
	if best.at == "." {
		return best.tree, name
	}
	return best.tree, path.Join(".", strings.TrimPrefix(strings.TrimPrefix(name, best.at), "/"))
}

// shows tells whether an entry of a layer is to be seen: it is not hidden by
// another layer that is mounted over it, and not fsck's own.
func (m *merged) shows(l layer, name string) bool {
	if name == "lost+found" || strings.HasPrefix(name, "lost+found/") {
		return false
	}
	full := l.path(name)
	for _, other := range m.layers[1:] {
		if other != l && other.holds(full) && (l.at == "." || len(other.at) > len(l.at)) {
			return false
		}
	}
	return true
}

var errEnough = errors.New("enough")

// Walk implements image.Tree. Each layer is in order by itself, and stays so
// below its mount point, so merging them is taking the least.
func (m *merged) Walk(ctx context.Context, fn func(entry *image.Entry, content io.Reader) error) error {
	if len(m.layers) == 1 {
		return m.walkLayer(ctx, m.layers[0], fn)
	}
	streams := make([]*stream, len(m.layers))
	for n, l := range m.layers {
		streams[n] = m.start(ctx, l)
		defer streams[n].stop()
	}
	for {
		var least *stream
		for _, s := range streams {
			if s.ok && (least == nil || before(s.entry.Path, least.entry.Path)) {
				least = s
			}
		}
		if least == nil {
			for _, s := range streams {
				if s.err != nil {
					return s.err
				}
			}
			return nil
		}
		if err := fn(least.entry, least.content); err != nil {
			return err
		}
		if least.advance(); least.err != nil {
			return least.err
		}
	}
}

func before(a, b string) bool { return b != "." && (a == "." || a < b) }

// walkLayer walks what is to be seen of a layer, under the paths of the whole.
func (m *merged) walkLayer(ctx context.Context, l layer, fn func(*image.Entry, io.Reader) error) error {
	return l.tree.Walk(ctx, func(e *image.Entry, content io.Reader) error {
		if !m.shows(l, e.Path) {
			return nil
		}
		if l.at == "." && e.Path == fstabPath && e.Type == image.File && len(m.dropped) > 0 {
			e.SizeBytes, content = int64(len(m.fstab)), strings.NewReader(m.fstab)
		}
		e.Path = l.path(e.Path)
		if e.Type == image.Hardlink {
			e.Link = l.path(e.Link)
		}
		return fn(e, content)
	})
}

// stream is a walk that waits after every entry.
type stream struct {
	next    func() (*image.Entry, io.Reader, bool)
	stop    func()
	err     error
	entry   *image.Entry
	content io.Reader
	ok      bool
}

func (m *merged) start(ctx context.Context, l layer) *stream {
	s := &stream{}
	s.next, s.stop = iter.Pull2(func(yield func(*image.Entry, io.Reader) bool) {
		err := m.walkLayer(ctx, l, func(e *image.Entry, content io.Reader) error {
			if !yield(e, content) {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			s.err = err
		}
	})
	s.advance()
	return s
}

func (s *stream) advance() { s.entry, s.content, s.ok = s.next() }
