package artifact

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/run"
)

// sumsName is the list of digests that a release carries.
const sumsName = "SHA256SUMS"

// checkSums compares path with the list beside it, if that names it.
func checkSums(ctx context.Context, path string) (listed bool, err error) {
	want, err := listedSum(filepath.Join(filepath.Dir(path), sumsName), filepath.Base(path))
	if want == "" || err != nil {
		return false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, contextReader{ctx, f}); err != nil {
		return false, err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != want {
		return false, fault.Errorf(fault.Input, "damaged: its digest is %s, %s says %s; build it or download it again", got, sumsName, want)
	}
	return true, nil
}

// listedSum finds a file's digest in a list of sha256sum's; empty if there is
// no list or it does not name the file.
func listedSum(list, name string) (string, error) {
	f, err := os.Open(list)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for lines.Scan() {
		sum, file, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.TrimPrefix(strings.TrimPrefix(file, " "), "*") != name {
			continue
		}
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size {
			return "", fault.Errorf(fault.Input, "%s: the digest of %s is not one", sumsName, name)
		}
		return strings.ToLower(sum), nil
	}
	return "", lines.Err()
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// checkDisk refuses disks that draw on other files, always, and damaged ones
// as far as their format can tell if thorough: that is for disks that nothing
// else vouches for.
func checkDisk(ctx context.Context, disk Disk, thorough bool) error {
	switch disk.Format {
	case "qcow2":
		err := readDisk(ctx, disk, thorough)
		if err == nil && thorough {
			err = qemuCheck(ctx, disk) // reference counts, which our reader has no use for
		}
		return err
	case "vmdk":
		return readDisk(ctx, disk, thorough)
	case "raw":
		info, err := os.Stat(disk.Path)
		if err != nil {
			return err
		}
		if info.Size()%512 != 0 {
			return fault.Errorf(fault.Input, "damaged: %d bytes are not a whole number of sectors", info.Size())
		}
	}
	return nil
}

// verifier is what the formats' readers have in common.
type verifier interface {
	Verify(ctx context.Context) error
}

// readDisk opens a disk with our own reader, which refuses every disk that
// draws on other files: QEMU would open whatever path a stranger wrote there.
func readDisk(ctx context.Context, disk Disk, thorough bool) error {
	f, err := os.Open(disk.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var reader verifier
	if disk.Format == "vmdk" {
		reader, err = vmdk.Open(f, info.Size())
	} else {
		reader, err = qcow2.Open(f, info.Size())
	}
	if err != nil || !thorough {
		return err
	}
	// What a virtual machine monitor of another make refuses is no damage.
	if err := reader.Verify(ctx); !errors.Is(err, vmdk.ErrPadded) {
		return err
	}
	return nil
}

// qemuCheck has qemu-img look at the metadata. It comes with the emulator that
// is going to read the disk, so where it is missing nothing boots either.
func qemuCheck(ctx context.Context, disk Disk) error {
	const tool = "qemu-img"
	// qemu-img check exits with 3 for leaked clusters: wasteful, not wrong.
	const leaks = 3
	err := run.Run(ctx, run.Spec{Argv: []string{tool, "check", "-q", "-f", disk.Format, disk.Path}})
	var exit *run.ExitError
	switch {
	case errors.As(err, &exit) && exit.Status == leaks:
		return nil
	case errors.As(err, &exit):
		return fault.Errorf(fault.Input, "damaged: qemu-img check: %s", exit.Tail)
	case err != nil && fault.KindOf(err) == fault.Environment:
		return nil // not installed
	}
	return err
}
