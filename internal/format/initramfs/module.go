package initramfs

import (
	"path"
	"strings"
)

// ModuleName is what modprobe(8) calls the kernel module in a file:
// "nvme_core" for "kernel/drivers/nvme/host/nvme-core.ko.xz".
func ModuleName(file string) (name string, ok bool) {
	name = path.Base(file)
	for _, suffix := range []string{".xz", ".zst", ".gz"} {
		name = strings.TrimSuffix(name, suffix)
	}
	name, ok = strings.CutSuffix(name, ".ko")
	return strings.ReplaceAll(name, "-", "_"), ok
}
