// Package qcow2 writes and reads QEMU's disk images, version 3, with parallel
// compression and the same bytes whatever the number of workers.
//
// Written are a header, the data in ascending order with the L2 tables among
// it, then refcounts and the L1 table: no snapshots, no backing file. Read are
// versions 2 and 3, plain and compressed with zlib or zstd. It refuses backing
// files, external data files, encryption, extended L2 entries and images that
// are marked dirty or corrupt. No file that an image names is ever opened.
//
// Constants and structures are from QEMU's docs/interop/qcow2.txt, cited as
// "qcow2.txt".
//
//	info, err := qcow2.Write(ctx, file, disk, qcow2.Options{Compression: qcow2.Zstd})
package qcow2
