package verify

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

func writeFile(path, content string) error {
	return place(path, strings.NewReader(content))
}

func place(path string, content io.Reader) error {
	f, err := run.CreateFile(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := io.Copy(f, content); err != nil {
		return run.Explain(err)
	}
	return f.Commit()
}

// newUUID makes the machine's identity for one boot. RFC 9562, version 4.
func newUUID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]), nil
}

// fit gives a machine no more memory than half of what this host has left: a
// host that swaps, or kills us, tells nothing about the image.
func fit(h target.Hardware, available size.Bytes) (target.Hardware, string) {
	if h.CPUs == 0 {
		h.CPUs = vm.DefaultCPUs
	}
	limit := max(available/2, 256*size.MiB) / size.MiB * size.MiB
	if h.Memory == 0 {
		h.Memory = vm.DefaultMemory
	}
	if available == 0 || h.Memory <= limit {
		return h, ""
	}
	note := fmt.Sprintf("booting with %s of memory instead of %s: this machine has %s left", limit, h.Memory, available.Human())
	h.Memory = limit
	return h, note
}

// availableMemory reads MemAvailable (proc(5)); zero if that fails.
func availableMemory() size.Bytes {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return size.Bytes(kib) * size.KiB
		}
	}
	return 0
}
