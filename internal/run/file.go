package run

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/org/imagebuild-action/internal/fault"
)

// File is a file in the making: it is written as NAME.part and takes its name
// only in Commit, synced to disk unless it is scratch. Abort removes it and is
// harmless after Commit, so defer it.
type File struct {
	*os.File
	name    string
	scratch bool
}

// CreateScratch starts a file for this process's own use, in a folder that goes
// with it: Commit leaves it to the kernel when it is written, if ever. A disk's
// worth of data that is deleted soon need not reach the disk below.
func CreateScratch(name string) (*File, error) {
	f, err := CreateFile(name)
	if err != nil {
		return nil, err
	}
	f.scratch = true
	return f, nil
}

// CreateFile starts the file that will be called name.
func CreateFile(name string) (*File, error) {
	f, err := os.OpenFile(name+".part", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, Explain(err)
	}
	// The mode is ours, not the caller's umask.
	if err := f.Chmod(0o644); err != nil {
		return nil, errors.Join(Explain(err), f.Close(), os.Remove(f.Name()))
	}
	return &File{File: f, name: name}, nil
}

// Commit syncs and closes the file and gives it its name.
func (f *File) Commit() error {
	var err error
	if !f.scratch {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), f.name)
	}
	if err != nil {
		f.Abort()
		return Explain(fmt.Errorf("finish %s: %w", filepath.Base(f.name), err))
	}
	return nil
}

// Abort closes and removes what was not committed.
func (f *File) Abort() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// FileSHA256 returns the digest of a file's content in hexadecimal. Its errors
// are the file system's own.
func FileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// Explain adds the remedy to file system errors that a user can mend, and
// classifies them as the environment's.
func Explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		err = fmt.Errorf("%w; free some space, or point --output and --cache-dir at a larger file system", err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		err = fmt.Errorf("%w; choose a folder that you may write to", err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENAMETOOLONG):
		err = fmt.Errorf("%w; choose another folder", err)
	default:
		return err
	}
	return fault.Wrap(fault.Environment, err)
}
