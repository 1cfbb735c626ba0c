// Package toolroot provides mke2fs 1.47.1 or later with libarchive, the
// first that turns a tar stream into an ext4 file system deterministically.
//
// The host's own is used where it is good enough, which is tried and not
// guessed. Otherwise a few packages of Debian trixie are unpacked into a
// private folder of the cache, once for all builds, and run through their own
// loader: nothing is installed, no root or mount is needed. It refuses hosts
// that are not amd64 when their mke2fs is too old.
//
//	mke2fs, err := toolroot.Mke2fs(ctx, cacheDir, task)
//	err = run.Run(ctx, run.Spec{Argv: mke2fs.Command("-V"), Env: mke2fs.Env(...)})
package toolroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
)

const (
	suite = "trixie"
	// recipe is raised when the packages below change: it names the folder.
	recipe   = "1"
	packages = "e2fsprogs,libarchive13t64"
	libDir   = "usr/lib/x86_64-linux-gnu"
	loader   = libDir + "/ld-linux-x86-64.so.2"
	mke2fs   = "usr/sbin/mke2fs"
)

// Tool is a program that was tried and found good.
type Tool struct {
	argv    []string
	version string
}

// Command is the program's argument vector with args appended.
func (t Tool) Command(args ...string) []string {
	return append(append([]string(nil), t.argv...), args...)
}

// Version is what the program says that it is, as "mke2fs 1.47.2 (1-Jan-2025)".
// It belongs into the plan: another version may write other bytes.
func (t Tool) Version() string { return t.version }

// Mke2fs returns a good mke2fs: the host's, or one below cacheDir that is made
// there if need be. Any number of builds may ask at once.
func Mke2fs(ctx context.Context, cacheDir string, task report.Task) (Tool, error) {
	hostTool, hostErr := try(ctx, Tool{argv: []string{"mke2fs"}})
	if hostErr == nil {
		return hostTool, nil
	}
	if err := ctx.Err(); err != nil {
		return Tool{}, err
	}
	if runtime.GOARCH != "amd64" {
		return Tool{}, fault.Errorf(fault.Environment, "this machine's mke2fs cannot be used: %w; install e2fsprogs 1.47.1 or later and libarchive13", hostErr)
	}
	dir, err := filepath.Abs(filepath.Join(cacheDir, "tools", suite+"-"+recipe))
	if err != nil {
		return Tool{}, fault.Wrap(fault.Environment, err)
	}
	tool := inside(dir)
	if found, err := try(ctx, tool); err == nil {
		return found, nil
	}
	task.Note("this machine's mke2fs cannot be used (%s); unpacking Debian %s's below %s, once", cause(hostErr), suite, cacheDir)
	if err := provide(ctx, dir, task); err != nil {
		return Tool{}, err
	}
	found, err := try(ctx, tool)
	if err != nil {
		return Tool{}, fault.Wrap(fault.Environment, fmt.Errorf("the mke2fs below %s does not work: %w", dir, err))
	}
	return found, nil
}

func cause(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func inside(dir string) Tool {
	return Tool{argv: []string{filepath.Join(dir, loader), "--library-path", filepath.Join(dir, libDir), filepath.Join(dir, mke2fs)}}
}

// provide makes dir unless another build has done so meanwhile.
func provide(ctx context.Context, dir string, task report.Task) (err error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return run.Explain(err)
	}
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := try(ctx, inside(dir)); err == nil {
		return nil
	}
	work, remove, err := run.TempDir(parent, ".new-")
	if err != nil {
		return run.Explain(err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := bootstrap(ctx, work, task); err != nil {
		return err
	}
	// What is there was tried and does not work: a folder cut short by an
	// earlier version, or a damaged disk.
	if err := os.RemoveAll(dir); err != nil {
		return run.Explain(err)
	}
	return run.Explain(os.Rename(filepath.Join(work, "root"), dir))
}

// bootstrap unpacks the packages into work/root. Chrootless mode needs neither
// root nor a user namespace; its warning to root is about packages' scripts,
// and none is run when packages are only extracted.
func bootstrap(ctx context.Context, work string, task report.Task) error {
	archive, root := filepath.Join(work, "root.tar"), filepath.Join(work, "root")
	lines := run.LineWriter(task.Line)
	defer lines.Close()
	err := run.Run(ctx, run.Spec{
		Argv: []string{"mmdebstrap", "--mode=chrootless", "--skip=check/chrootless", "--variant=extract", "--architectures=amd64", "--include=" + packages, "--format=tar", suite, archive},
		// Temporary files go where they are cleaned up, and where there is room.
		Env:    run.Environ("TMPDIR=" + work),
		Stdout: lines, Group: true,
	})
	if err != nil {
		return explain(err)
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return run.Explain(err)
	}
	return fault.Wrap(fault.Environment, run.Run(ctx, run.Spec{
		Argv: []string{"tar", "--extract", "--file", archive, "--directory", root, "--no-same-owner", "--exclude=./dev/*"},
	}))
}

// explain adds the remedy to what goes wrong with mmdebstrap.
func explain(err error) error {
	var exit *run.ExitError
	text := err.Error()
	remedy := "or install e2fsprogs 1.47.1 or later with libarchive13 yourself"
	switch {
	case !errors.As(err, &exit) && strings.Contains(text, "command not found"):
		remedy = "mmdebstrap is needed to make the file system tools: apt-get install mmdebstrap, " + remedy
	case errors.As(err, &exit) && strings.Contains(text, "NO_PUBKEY"), strings.Contains(text, "is not signed"), strings.Contains(text, "no keyring"):
		remedy = "Debian's archive keys are missing: apt-get install debian-archive-keyring, " + remedy
	case strings.Contains(text, "Could not resolve"), strings.Contains(text, "Could not connect"), strings.Contains(text, "Failed to fetch"), strings.Contains(text, "Temporary failure"):
		remedy = "the package mirror cannot be reached: check the network and the proxy settings, " + remedy
	case strings.Contains(text, "No space left"):
		remedy = "free some space, or point --cache-dir at a larger file system"
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.Wrap(fault.Environment, fmt.Errorf("unpack Debian %s's e2fsprogs: %w; %s", suite, err, remedy))
}

// lock takes an exclusive lock on a file, or gives up with the context. The
// kernel drops it with the process.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, run.Explain(err)
	}
	locked := make(chan error, 1)
	go func() {
		for {
			err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
			if !errors.Is(err, unix.EINTR) {
				locked <- err
				return
			}
		}
	}()
	select {
	case err := <-locked:
		if err != nil {
			_ = f.Close()
			return nil, fault.Wrap(fault.Environment, fmt.Errorf("lock %s: %w", name, err))
		}
		return func() { _ = f.Close() }, nil
	case <-ctx.Done():
		go func() { // the lock comes some day, and is given back then
			<-locked
			_ = f.Close()
		}()
		return nil, context.Cause(ctx)
	}
}
