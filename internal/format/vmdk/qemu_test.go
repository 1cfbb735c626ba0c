package vmdk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/testkit"
)

func TestStreamEqualsRawByQemu(t *testing.T) {
	for name, disk := range testkit.Disks() {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "disk.vmdk")
			f, err := os.Create(out)
			if err != nil {
				t.Fatal(err)
			}
			info, err := vmdk.WriteStream(t.Context(), f, disk, vmdk.StreamOptions{CID: 7})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if stat, _ := os.Stat(out); stat.Size() != info.SizeBytes {
				t.Fatalf("file has %d bytes, Info says %d", stat.Size(), info.SizeBytes)
			}
			testkit.QemuImg(t, "compare", "-f", "raw", "-F", "vmdk", testkit.RawFile(t, disk), out)
			testkit.QemuImg(t, "check", "-f", "vmdk", out)
		})
	}
}
