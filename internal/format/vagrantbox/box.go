// Package vagrantbox writes and reads Vagrant boxes: tar archives with a
// metadata.json that names the provider.
//
//	box, err := vagrantbox.Create("golden.box", tarball.Plain, vagrantbox.Seal{Name: "golden", ...})
//	defer box.Abort()
//	err = box.Add(ctx, "box.img", size, content)
//	sum, err := box.Commit(ctx)
//
// A box of ours ends with imagebuild.json, which lists every other member with
// its digest; Walk refuses such a box for any byte that is not as it was
// written. Of a stranger's box it checks what the archive itself makes
// checkable. It refuses boxes without metadata.json.
package vagrantbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/tarball"
)

// Writer writes a box.
type Writer struct {
	archive *tarball.Archive
	seal    Seal
}

// Create starts the box that will be called path. Of about, Members and the
// digest are filled in by Commit. Abort removes the box and is harmless after
// Commit, so defer it.
func Create(path string, form tarball.Form, about Seal) (*Writer, error) {
	archive, err := tarball.Create(path, time.Unix(about.Epoch, 0), form)
	if err != nil {
		return nil, err
	}
	about.Schema, about.Members = sealSchema, nil
	return &Writer{archive: archive, seal: about}, nil
}

// OnProgress has fn told how many bytes of the file are written.
func (w *Writer) OnProgress(fn func(doneBytes int64)) { w.archive.File.Progress = fn }

// Add writes one member of exactly sizeBytes.
func (w *Writer) Add(ctx context.Context, name string, sizeBytes int64, content io.Reader) error {
	digest := sha256.New()
	err := w.archive.Add(ctx, name, sizeBytes, io.TeeReader(content, digest))
	w.seal.Members = append(w.seal.Members, SealedMember{name, sizeBytes, sum(digest)})
	return err
}

// AddBytes is Add for content in memory.
func (w *Writer) AddBytes(ctx context.Context, name string, content []byte) error {
	digest := sha256.Sum256(content)
	w.seal.Members = append(w.seal.Members, SealedMember{name, int64(len(content)), hex.EncodeToString(digest[:])})
	return w.archive.AddBytes(ctx, name, content)
}

// Commit writes the seal and gives the file its name.
func (w *Writer) Commit(ctx context.Context) (tarball.Sum, error) {
	document, err := w.seal.json()
	if err == nil {
		err = w.archive.AddBytes(ctx, SealName, document)
	}
	if err != nil {
		w.Abort()
		return tarball.Sum{}, err
	}
	return w.archive.Commit()
}

// Abort removes the file unless it was committed.
func (w *Writer) Abort() { w.archive.Abort() }

// Box is what a box turned out to be.
type Box struct {
	Metadata    Metadata
	Compression string // "", "gzip", "xz" or "zstd"
	Members     []tarball.Member
	Seal        *Seal // nil: not a box of ours, so its content could not be checked
}

// Walk reads the box at path from start to end. fn, if not nil, gets every
// member; what it was given can be trusted only once Walk has returned without
// an error.
func Walk(ctx context.Context, path string, fn func(member tarball.Member, content io.Reader) error) (*Box, error) {
	source, err := tarball.Open(path)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	defer source.Close() //nolint:errcheck // opened for reading
	box := &Box{Compression: source.Compression}
	var found []SealedMember
	kept := map[string][]byte{}
	err = source.Walk(ctx, func(member tarball.Member, content io.Reader) error {
		digest := sha256.New()
		content = io.TeeReader(content, digest)
		switch {
		case member.Name != MetadataName && member.Name != SealName:
		case member.SizeBytes > maxMetadataBytes:
			return damaged("%s is larger than %d bytes", member.Name, maxMetadataBytes)
		default:
			document, err := io.ReadAll(content)
			if err != nil {
				return err
			}
			kept[member.Name] = document
			content = bytes.NewReader(document)
		}
		if fn != nil {
			if err := fn(member, content); err != nil {
				return err
			}
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		box.Members = append(box.Members, member)
		found = append(found, SealedMember{member.Name, member.SizeBytes, sum(digest)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	document, ok := kept[MetadataName]
	if !ok {
		return nil, fault.Errorf(fault.Input, "no %s in the archive's root: not a Vagrant box", MetadataName)
	}
	if box.Metadata, err = ParseMetadata(document); err != nil {
		return nil, err
	}
	if document, ok := kept[SealName]; ok {
		if box.Seal, err = parseSeal(document); err != nil {
			return nil, err
		}
		return box, box.check(found, source.Sealed())
	}
	return box, nil
}

// check compares what was found with what the box says of itself.
func (b *Box) check(found []SealedMember, sealed bool) error {
	if !sealed {
		return damaged("the compressed data lacks its digest")
	}
	last := len(found) - 1
	if found[last].Name != SealName || len(b.Seal.Members) != last {
		return damaged("%s lists %d members, the archive has %d", SealName, len(b.Seal.Members), last)
	}
	for i, want := range b.Seal.Members {
		if found[i] != want {
			return damaged("%s is not what was written as %s", found[i].Name, want.Name)
		}
	}
	for _, member := range b.Members {
		if !member.Canonical || member.ModTime.Unix() != b.Seal.Epoch {
			return damaged("the header of %s is not what was written", member.Name)
		}
	}
	return nil
}

func sum(digest hash.Hash) string { return hex.EncodeToString(digest.Sum(nil)) }
