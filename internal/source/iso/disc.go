package iso

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/iso9660"
	"github.com/org/imagebuild-action/internal/run"
)

// places are where distributions keep their installers' kernels and initrds.
var places = []struct{ kernel, initrd string }{
	{"install.amd/vmlinuz", "install.amd/initrd.gz"},                           // Debian
	{"install.amd64/vmlinuz", "install.amd64/initrd.gz"},                       // its kin
	{"casper/vmlinuz", "casper/initrd"},                                        // Ubuntu
	{"casper/vmlinuz", "casper/initrd.gz"},                                     // older ones
	{"images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"},                    // Fedora, RHEL
	{"isolinux/vmlinuz", "isolinux/initrd.img"},                                // older ones
	{"boot/x86_64/loader/linux", "boot/x86_64/loader/initrd"},                  // SUSE
	{"linux", "initrd.gz"},                                                     // Debian's netboot disc
	{"boot/vmlinuz-lts", "boot/initramfs-lts"},                                 // Alpine
	{"arch/boot/x86_64/vmlinuz-linux", "arch/boot/x86_64/initramfs-linux.img"}, // Arch
}

// maxBootFile bounds a kernel or an initrd that is taken out of a disc.
const maxBootFile = 2 << 30

// openDisc opens the installer's disc. Close the file.
func openDisc(name string) (*iso9660.Disc, *os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Input, err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, nil, run.Explain(err)
	}
	disc, err := iso9660.Open(f, info.Size())
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return disc, f, nil
}

// locate finds the kernel and the initrd on a disc.
func locate(disc *iso9660.Disc) (kernel, initrd string, err error) {
	var looked []string
	for _, p := range places {
		if isFile(disc, p.kernel) && isFile(disc, p.initrd) {
			return p.kernel, p.initrd, nil
		}
		looked = append(looked, p.kernel)
	}
	return "", "", fault.Errorf(fault.Input, "the disc %q has no kernel where installers keep theirs (%s); give kernel and initrd as iso: and the path",
		disc.VolumeID(), strings.Join(slices.Compact(looked), ", "))
}

func isFile(disc *iso9660.Disc, name string) bool {
	e, err := disc.Stat(name)
	return err == nil && !e.Dir && !e.Link
}

// bootFile puts one of the template's boot files into the file to: from the
// disc, or from the template's folder.
func (s *Source) bootFile(ctx context.Context, disc *iso9660.Disc, name string, to *os.File) error {
	if inside, on := strings.CutPrefix(name, onDisc); on {
		f, err := disc.Open(inside)
		if err != nil {
			return err
		}
		if f.SizeBytes > maxBootFile {
			return fault.Errorf(fault.Input, "%s on the disc has %d bytes, which is no boot file", inside, f.SizeBytes)
		}
		return copyAll(ctx, to, f, inside+" on the disc")
	}
	f, err := os.Open(s.abs(name))
	if err != nil {
		return fault.Wrap(fault.Input, err)
	}
	defer f.Close()
	return copyAll(ctx, to, io.LimitReader(f, maxBootFile), name)
}

func copyAll(ctx context.Context, to io.Writer, from io.Reader, what string) error {
	if _, err := io.Copy(to, &cancellable{ctx, from}); err != nil {
		return run.Explain(fmt.Errorf("copy %s: %w", what, err))
	}
	return nil
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// volume makes the disc that carries the answers: ISO 9660 with Rock Ridge and
// Joliet, so that every installer reads its names. The same files give the
// same bytes.
func volume(ctx context.Context, dir, label string, files map[string][]byte) (string, error) {
	from := filepath.Join(dir, "answers")
	if err := os.Mkdir(from, 0o755); err != nil {
		return "", run.Explain(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(from, name), content, 0o644); err != nil {
			return "", run.Explain(err)
		}
	}
	out := filepath.Join(dir, "answers.iso")
	err := run.Run(ctx, run.Spec{
		Argv: []string{"xorriso", "-as", "mkisofs", "-quiet", "-o", out, "-V", label, "-J", "-r", "--set_all_file_dates", "1980010100000000", from},
		Env:  run.Environ("SOURCE_DATE_EPOCH=315532800"),
	})
	if err != nil {
		return "", fmt.Errorf("make the disc with the answers: %w", err)
	}
	return out, nil
}
