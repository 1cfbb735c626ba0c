package emit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/gpt"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/tree"
)

// features are ext4's as GRUB 2.06 can read them and e2fsprogs 1.46 (the
// oldest in a supported release) can check them: no orphan_file, no
// metadata_csum_seed. The list is complete, so that no default of mke2fs's
// decides anything.
const features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// makeRoot makes the root file system inside the disk file, from the tree as a
// tar stream: nothing of it is written to a directory, nor kept in memory.
func (r Request) makeRoot(ctx context.Context, disk, work string, root *gpt.Partition, f *found, task report.Task) error {
	config := filepath.Join(work, "mke2fs.conf")
	if err := os.WriteFile(config, []byte("[defaults]\n[fs_types]\n\text4 = {\n\t}\n"), 0o644); err != nil {
		return run.Explain(err)
	}
	stdin, tar, err := os.Pipe()
	if err != nil {
		return fault.Wrap(fault.Environment, err)
	}
	p, err := run.Start(ctx, run.Spec{
		Argv:  r.Mke2fs.Command(r.mke2fsArgs(disk, root, f)...),
		Env:   run.Environ("MKE2FS_CONFIG="+config, "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.Epoch.Unix(), 10)),
		Stdin: stdin, Scratch: true,
	})
	// mke2fs has its own copy: with ours closed, its end is seen as a broken pipe.
	_ = stdin.Close()
	if err != nil {
		_ = tar.Close()
		return err
	}
	_, writeErr := tree.WriteTar(ctx, tar, r.Tree, func(done int64) { task.Progress(done, f.contentBytes) })
	writeErr = errors.Join(writeErr, tar.Close())
	if writeErr != nil && !errors.Is(writeErr, syscall.EPIPE) {
		p.Kill()     // or it would make a file system of half a tree
		_ = p.Wait() // its error follows from this one
		return fmt.Errorf("read the tree: %w", writeErr)
	}
	if err := p.Wait(); err != nil {
		return r.explain(err, f)
	}
	if writeErr != nil {
		return fmt.Errorf("mke2fs did not read the whole tree: %w", writeErr)
	}
	return nil
}

// mke2fsArgs are the arguments. The disk file is new and all a hole, so nothing
// need be zeroed: the bytes are the same.
func (r Request) mke2fsArgs(disk string, root *gpt.Partition, f *found) []string {
	uuid := r.Identity.RootUUID()
	return []string{
		"-q", "-F", "-t", "ext4", "-O", features, "-b", strconv.Itoa(blockBytes), "-I", strconv.Itoa(inodeBytes),
		"-N", strconv.FormatInt(f.inodes(root.SizeBytes()), 10), "-J", "size=" + strconv.FormatInt(journalMebibytes(root.SizeBytes()), 10),
		"-m", "5", "-e", "remount-ro", "-L", "root", "-U", uuid,
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,assume_storage_prezeroed=1", root.OffsetBytes(), r.Identity.UUID("root-hash-seed")),
		"-d", "-", disk, strconv.FormatInt(root.SizeBytes()/1024, 10) + "k",
	}
}

func (r Request) explain(err error, f *found) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "Could not allocate"):
		return f.tooSmall(r)
	case strings.Contains(text, "No space left on device"):
		return run.Explain(fmt.Errorf("make the root file system: write %s: %w", r.Path, syscall.ENOSPC))
	}
	return fmt.Errorf("make the root file system: %w", err)
}
