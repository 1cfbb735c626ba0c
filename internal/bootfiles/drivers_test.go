package bootfiles

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/tree"
)

// cpio makes a newc archive of empty members.
func cpio(names ...string) []byte {
	var b bytes.Buffer
	for _, name := range append(names, cpioTrailer) {
		fmt.Fprintf(&b, "070701%s%08X%08X", strings.Repeat("00000000", 11), len(name)+1, 0)
		b.WriteString(name + "\x00")
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	return b.Bytes()
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

func zstandard(data []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll(data, nil)
}

func TestInitramfsNames(t *testing.T) {
	microcode := append(cpio("kernel", "kernel/x86"), make([]byte, 512)...)
	main := cpio("init", "usr/lib/modules/6.1/kernel/nvme.ko")
	want := []string{"init", "usr/lib/modules/6.1/kernel/nvme.ko"}
	both := append([]string{"kernel", "kernel/x86"}, want...)
	tests := []struct {
		name string
		data []byte
		want []string
		err  string
	}{
		{"plain", main, want, ""},
		{"gzip", gzipped(main), want, ""},
		{"zstd", zstandard(main), want, ""},
		{"microcode and zstd", append(slices.Clone(microcode), zstandard(main)...), both, ""},
		{"microcode and gzip", append(slices.Clone(microcode), gzipped(main)...), both, ""},
		{"empty", nil, nil, ""},
		{"xz", []byte("\xfd7zXZ\x00...."), nil, errCompression.Error()},
		{"cut short", main[:200], want[:1], "unexpected EOF"},
		{"name too long", append([]byte("070701"+strings.Repeat("0", 88)+"00FFFFFF"), make([]byte, 99)...), nil, "a name of"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			err := initramfsNames(bytes.NewReader(test.data), func(name string) { got = append(got, name) })
			if !slices.Equal(got, test.want) {
				t.Errorf("names are %q, want %q", got, test.want)
			}
			if text := fmt.Sprint(err); err == nil && test.err != "" || err != nil && (test.err == "" || !strings.Contains(text, test.err)) {
				t.Errorf("error is %v, want %q", err, test.err)
			}
		})
	}
}

func FuzzInitramfsNames(f *testing.F) {
	f.Add(cpio("init"))
	f.Add(append(cpio("a"), gzipped(cpio("b"))...))
	f.Add(zstandard(cpio("c")))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = initramfsNames(bytes.NewReader(data), func(name string) {
			if len(name) > maxNameBytes {
				t.Errorf("a name of %d bytes", len(name))
			}
		})
	})
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
			tree.PutFile("boot/initrd.img-6.1", 0o644, zstandard(cpio(inImage...))),
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
	if _, err := CheckDrivers(t.Context(), damaged); !errors.Is(err, errCompression) {
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
