package tree

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/size"
)

// Digest is what a canonical tar came to.
type Digest struct {
	SHA256  string     // of the whole archive, lower-case hex
	Entries int        // members
	Bytes   size.Bytes // of the archive
}

// copyBuffer is the piece in which contents are copied.
const copyBuffer = 256 << 10

// WriteTar writes the canonical tar of t to w: members in the tree's order
// under plain names ("etc/passwd", the root as "./"), numeric owners and no
// names, whole seconds, USTAR headers with pax records only for what USTAR
// cannot hold (long or non-ASCII names, xattrs, large numbers). The same tree
// gives the same bytes everywhere. progress may be nil; it is told how many
// bytes have been written.
func WriteTar(ctx context.Context, w io.Writer, t image.Tree, progress func(doneBytes int64)) (Digest, error) {
	out := &meter{w: w, hash: sha256.New(), progress: progress}
	behind := startBehind(out)
	defer behind.close() //nolint:errcheck // after an error of the tree's
	archive := tar.NewWriter(behind)
	buf := make([]byte, copyBuffer)
	entries := 0
	err := t.Walk(ctx, func(entry *image.Entry, content io.Reader) error {
		entries++
		return writeEntry(ctx, archive, entry, content, buf)
	})
	if err != nil {
		return Digest{}, err
	}
	if err := archive.Close(); err != nil {
		return Digest{}, err
	}
	if err := behind.close(); err != nil {
		return Digest{}, err
	}
	return Digest{hex.EncodeToString(out.hash.Sum(nil)), entries, size.Bytes(out.done)}, nil
}

func writeEntry(ctx context.Context, archive *tar.Writer, entry *image.Entry, content io.Reader, buf []byte) error {
	header, err := toHeader(entry)
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(header); err != nil {
		return fmt.Errorf("%s: %w", entry.Path, err)
	}
	if entry.Type != image.File || entry.SizeBytes == 0 {
		return nil
	}
	// io.CopyBuffer would use ReadFrom and allocate for every file.
	n, err := io.CopyBuffer(onlyWriter{archive}, onlyReader{ctx, content}, buf)
	if err != nil {
		return fmt.Errorf("%s: %w", entry.Path, err)
	}
	if n != entry.SizeBytes {
		return fmt.Errorf("%s: %d bytes where %d were announced", entry.Path, n, entry.SizeBytes)
	}
	return nil
}

func toHeader(entry *image.Entry) (*tar.Header, error) {
	if err := checkPath(entry.Path); err != nil {
		return nil, err
	}
	h := &tar.Header{
		Name: entry.Path, Mode: int64(entry.Mode), Uid: entry.UID, Gid: entry.GID,
		ModTime: entry.ModTime.Truncate(time.Second), Linkname: entry.Link,
	}
	switch entry.Type {
	case image.File:
		h.Typeflag, h.Size = tar.TypeReg, entry.SizeBytes
	case image.Directory:
		h.Typeflag, h.Name = tar.TypeDir, entry.Path+"/"
	case image.Symlink:
		h.Typeflag = tar.TypeSymlink
	case image.Hardlink:
		h.Typeflag = tar.TypeLink
	case image.CharDevice:
		h.Typeflag = tar.TypeChar
	case image.BlockDevice:
		h.Typeflag = tar.TypeBlock
	case image.FIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, fmt.Errorf("%s: entries of %s cannot be archived", entry.Path, entry.Type)
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		h.Devmajor, h.Devminor = entry.Major, entry.Minor
	}
	// A hard link shares its file's attributes.
	if len(entry.Xattrs) > 0 && entry.Type != image.Hardlink {
		h.PAXRecords = make(map[string]string, len(entry.Xattrs))
		for key, value := range entry.Xattrs {
			h.PAXRecords[xattrPrefix+key] = value
		}
	}
	return h, nil
}

// meter hashes and counts what passes.
type meter struct {
	w        io.Writer
	hash     hash.Hash
	done     int64
	progress func(int64)
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.hash.Write(p[:n])
	m.done += int64(n)
	if m.progress != nil {
		m.progress(m.done)
	}
	return n, err
}

type onlyWriter struct{ io.Writer }

// onlyReader hides WriterTo, and ends with the context.
type onlyReader struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	r   io.Reader
}

func (r onlyReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
