package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/template"
)

// MaxAssetBytes is the largest asset: "each file included in a release must be
// under 2 GiB". Source: docs.github.com, About releases, Storage and bandwidth
// quotas.
const MaxAssetBytes = 2<<30 - 1

// maxParts is how many parts a file can have: their numbers have two digits.
const maxParts = 99

// partName is the name of a file's part; the first has number 01.
func partName(name string, index int) string { return fmt.Sprintf("%s.part%02d", name, index+1) }

// section is a stretch of a file, to be read as often as it takes.
type section struct {
	path   string
	offset int64
	size   int64
}

// open starts reading from the section's start.
func (s section) open() (io.ReadCloser, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, run.Explain(err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, s.offset, s.size), f}, nil
}

func (s section) sha256(ctx context.Context) (string, error) {
	r, err := s.open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	digest := sha256.New()
	n, err := io.Copy(digest, &contextReader{ctx, r})
	if err == nil && n != s.size {
		err = fault.Errorf(fault.Input, "%s changed while it was read", filepath.Base(s.path))
	}
	if err != nil {
		return "", run.Explain(err)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// partBytes is the size of all parts but the last: the limit, in whole MiB
// where it is larger than that.
func partBytes(limit int64) int64 {
	if limit > 1<<20 {
		return limit &^ (1<<20 - 1)
	}
	return limit
}

// split returns the stretches of a file that become its parts, or nil when it
// fits into one asset.
func split(path, name string, sizeBytes, limit int64, how template.Oversize) ([]section, error) {
	if sizeBytes <= limit {
		return nil, nil
	}
	each := partBytes(limit)
	switch count := (sizeBytes + each - 1) / each; {
	case how == template.Refuse:
		return nil, fault.Errorf(fault.Input, "%s has %s, and an asset of a release has at most %s; make the image smaller, or set release.oversize: split",
			name, size.Bytes(sizeBytes).Human(), size.Bytes(limit).Human())
	case count > maxParts:
		return nil, fault.Errorf(fault.Input, "%s has %s, which is more than %d parts of %s", name, size.Bytes(sizeBytes).Human(), maxParts, size.Bytes(each).Human())
	}
	var parts []section
	for offset := int64(0); offset < sizeBytes; offset += each {
		parts = append(parts, section{path, offset, min(each, sizeBytes-offset)})
	}
	return parts, nil
}
