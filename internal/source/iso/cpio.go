package iso

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// cpio makes an archive that the kernel unpacks over the initrd before it
// (Documentation/driver-api/early-userspace/buffer-format.rst): files of mode
// 0644 in its root, owned by root and without times.
func cpio(files map[string][]byte) []byte {
	var out bytes.Buffer
	entry := func(inode int, mode uint32, name string, content []byte) {
		links := 1
		// Magic, then 13 numbers of eight digits: inode, mode, uid, gid, links, mtime, size,
		// device twice, the node's device twice, the name's length and no checksum.
		fmt.Fprintf(&out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
		out.WriteString(name + "\x00")
		align(&out)
		out.Write(content)
		align(&out)
	}
	for i, name := range slices.Sorted(maps.Keys(files)) {
		entry(i+1, 0o100644, name, files[name])
	}
	entry(0, 0, "TRAILER!!!", nil)
	return out.Bytes()
}

func align(out *bytes.Buffer) {
	for out.Len()%4 != 0 {
		out.WriteByte(0)
	}
}
