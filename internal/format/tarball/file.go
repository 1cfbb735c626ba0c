package tarball

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"time"

	"github.com/org/imagebuild-action/internal/run"
)

// Form is how an archive is stored.
type Form int

// The forms that we write.
const (
	Plain Form = iota
	Gzip
)

// Sum is what a finished file is known by.
type Sum struct {
	SizeBytes int64
	SHA256    string // lower-case hex
}

// File is a file in the making that knows its size and digest: written once,
// from start to end. Progress, if set, hears of the bytes written so far.
type File struct {
	Progress func(doneBytes int64)

	file   *run.File
	digest hash.Hash
	done   int64
}

// CreateFile starts the file that will be called path.
func CreateFile(path string) (*File, error) {
	file, err := run.CreateFile(path)
	if err != nil {
		return nil, err
	}
	return &File{file: file, digest: sha256.New()}, nil
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.digest.Write(p[:n])
	f.done += int64(n)
	if f.Progress != nil {
		f.Progress(f.done)
	}
	return n, run.Explain(err)
}

// Commit syncs the file and gives it its name.
func (f *File) Commit() (Sum, error) {
	return Sum{f.done, hex.EncodeToString(f.digest.Sum(nil))}, f.file.Commit()
}

// Abort removes the file unless it was committed.
func (f *File) Abort() { f.file.Abort() }

// Archive is an archive in the making, in a file of its own.
type Archive struct {
	*Writer
	File *File
	gzip *gzipWriter
}

// Create starts the archive that will be called path. Abort removes it and is
// harmless after Commit, so defer it.
func Create(path string, epoch time.Time, form Form) (*Archive, error) {
	file, err := CreateFile(path)
	if err != nil {
		return nil, err
	}
	archive := &Archive{File: file}
	if form == Plain {
		archive.Writer = NewWriter(file, epoch)
		return archive, nil
	}
	if archive.gzip, err = newGzipWriter(file); err != nil {
		file.Abort()
		return nil, err
	}
	archive.Writer = NewWriter(archive.gzip, epoch)
	return archive, nil
}

// Commit ends the archive and gives the file its name.
func (a *Archive) Commit() (Sum, error) {
	err := a.Close()
	if a.gzip != nil {
		err = errors.Join(err, a.gzip.Close())
	}
	if err != nil {
		a.Abort()
		return Sum{}, err
	}
	return a.File.Commit()
}

// Abort removes the file unless it was committed.
func (a *Archive) Abort() {
	if a.gzip != nil {
		a.gzip.stop()
	}
	a.File.Abort()
}
