package toolroot

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/run"
)

// try runs the tool on a tiny archive, because neither a version nor a
// package's name tells whether libarchive can be loaded.
func try(ctx context.Context, t Tool) (_ Tool, err error) {
	var out strings.Builder
	if err := run.Run(ctx, run.Spec{Argv: t.Command("-V"), Stdout: io.Discard, Stderr: &out}); err != nil {
		return Tool{}, err
	}
	version, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	if !newEnough(version) {
		return Tool{}, fmt.Errorf("%s is older than 1.47.1", version)
	}
	dir, remove, err := run.TempDir(os.TempDir(), "imagebuild-mke2fs-")
	if err != nil {
		return Tool{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	_ = w.WriteHeader(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755})
	_ = w.Close()
	err = run.Run(ctx, run.Spec{
		Argv:  t.Command("-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", "-", filepath.Join(dir, "probe"), "256k"),
		Stdin: &archive,
	})
	if err != nil {
		return Tool{}, fmt.Errorf("%s cannot read a tar archive: %w", version, err)
	}
	return Tool{argv: t.argv, version: version}, nil
}

// newEnough reads "mke2fs 1.47.2 (1-Jan-2025)".
func newEnough(version string) bool {
	fields := strings.Fields(version)
	if len(fields) < 2 || fields[0] != "mke2fs" {
		return false
	}
	for _, least := range []int{1, 47, 1} {
		part, rest, _ := strings.Cut(fields[1], ".")
		fields[1] = rest
		n, _ := strconv.Atoi(part)
		if n != least {
			return n > least
		}
	}
	return true
}
