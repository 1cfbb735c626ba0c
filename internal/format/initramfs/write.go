package initramfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// Archive makes an archive that the kernel unpacks over the ones before it:
// files of this mode in its root, owned by root and without times. It has to
// begin at a multiple of four bytes.
func Archive(files map[string][]byte, mode fs.FileMode) []byte {
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
		entry(i+1, 0o100000|uint32(mode.Perm()), name, files[name])
	}
	entry(0, 0, trailer, nil)
	return out.Bytes()
}

func align(out *bytes.Buffer) { out.Write(make([]byte, padded(int64(out.Len()))-int64(out.Len()))) }
