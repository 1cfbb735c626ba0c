package bootfiles

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/format/initramfs"

	"github.com/org/imagebuild-action/internal/tree"
)

// archive makes an initramfs of empty members.
func archive(names ...string) []byte {
	files := map[string][]byte{}
	for _, name := range names {
		files[name] = nil
	}
	return initramfs.Archive(files, 0o644)
}

func TestCheckDrivers(t *testing.T) {
	var modules []string
	for _, d := range drivers {
		modules = append(modules, "usr/lib/modules/6.1/kernel/drivers/"+d.module+".ko.xz")
	}
	base := bootableTree(t)
	put := func(skip string, builtin string, inImage []string) []Lack {
		t.Helper()
		changes := []tree.Change{
			tree.PutFile("boot/initrd.img-6.1", 0o644, archive(inImage...)),
			tree.PutFile("usr/lib/modules/6.1/modules.builtin", 0o644, []byte(builtin)),
		}
		for _, m := range modules {
			if !strings.Contains(m, skip) {
				changes = append(changes, tree.PutFile(m, 0o644, nil))
			}
		}
		lacks, err := CheckDrivers(t.Context(), tree.Overlay(base, changes...))
		if err != nil {
			t.Fatal(err)
		}
		return lacks
	}
	if lacks := put("nothing", "", modules); len(lacks) != 0 {
		t.Errorf("a full kernel lacks %v", lacks)
	}
	if lacks := put("vmxnet3", "", modules); len(lacks) != 1 || lacks[0].Where != "kernel" || lacks[0].Module != "vmxnet3" {
		t.Errorf("without vmxnet3: %v", lacks)
	}
	if lacks := put("vmxnet3", "kernel/drivers/net/vmxnet3.ko\n", modules); len(lacks) != 0 {
		t.Errorf("with vmxnet3 built in: %v", lacks)
	}
	without := slices.DeleteFunc(slices.Clone(modules), func(m string) bool { return strings.Contains(m, "xen-blkfront") })
	lacks := put("nothing", "", without)
	if len(lacks) != 1 || lacks[0].Where != "initramfs" || !strings.Contains(lacks[0].String(), "MODULES=most") {
		t.Errorf("an initramfs without xen-blkfront: %v", lacks)
	}
	damaged := tree.Overlay(base, tree.PutFile("boot/initrd.img-6.1", 0o644, []byte("nonsense")))
	if _, err := CheckDrivers(t.Context(), damaged); !errors.Is(err, initramfs.ErrCompression) {
		t.Errorf("a damaged initramfs: %v", err)
	}
}

// TestCheckDriversOfDebian looks at a real tree where one is at hand.
func TestCheckDriversOfDebian(t *testing.T) {
	archive := os.Getenv("IMAGEBUILD_E2E_TREE")
	if archive == "" {
		t.Skip("IMAGEBUILD_E2E_TREE names no archive")
	}
	base, err := tree.Tar(archive)
	if err != nil {
		t.Fatal(err)
	}
	lacks, err := CheckDrivers(t.Context(), base)
	if err != nil || len(lacks) > 0 {
		t.Errorf("lacks %v, error %v", lacks, err)
	}
}
