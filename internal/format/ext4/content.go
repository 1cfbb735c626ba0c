package ext4

import (
	"context"
	"io"
)

// content returns a file's bytes, and nothing behind its size.
func (f *FS) content(ctx context.Context, i *inode) (io.Reader, error) {
	if i.flags&flagInline != 0 {
		data, err := f.inline(i)
		if err != nil {
			return nil, err
		}
		if uint64(len(data)) < i.size {
			return nil, damaged(inodeName(i.number), "%d bytes are in the inode where %d are announced", len(data), i.size)
		}
		return &bytesReader{data[:i.size]}, nil
	}
	if i.size > 1<<62 {
		return nil, damaged(inodeName(i.number), "a size of %d bytes", i.size)
	}
	return &contentReader{ctx: ctx, fs: f, inode: i}, nil
}

// bytesReader is bytes.Reader without its other methods: a content is only to
// be read.
type bytesReader struct{ left []byte }

func (b *bytesReader) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}

type contentReader struct {
	ctx      context.Context //nolint:containedctx // lives as long as one Walk
	fs       *FS
	inode    *inode
	position uint64
	run      span   // that holds position
	first    uint64 // block of the run
}

func (c *contentReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	if c.position >= c.inode.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	unit := uint64(c.fs.super.blockBytes) //nolint:gosec // at most 64 KiB
	block := c.position / unit
	if block < c.first || block >= c.first+c.run.count {
		s, err := c.fs.mapped(c.inode, block)
		if err != nil {
			return 0, err
		}
		c.run, c.first = s, block
	}
	end := c.inode.size // a hole may be longer than numbers go
	if rest := c.first + c.run.count; rest < end/unit+1 {
		end = min(end, rest*unit)
	}
	p = p[:min(uint64(len(p)), end-c.position)]
	if c.run.physical == 0 {
		clear(p)
	} else {
		at := c.run.physical*unit + c.position - c.first*unit
		if err := c.fs.read(p, int64(at)); err != nil { //nolint:gosec // within the blocks of a real file
			return 0, err
		}
	}
	c.position += uint64(len(p))
	return len(p), nil
}
