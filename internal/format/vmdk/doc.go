// Package vmdk writes and reads VMware's hosted sparse disks: streamOptimized
// (the transport format of OVF) and monolithicSparse (what a VMware box
// holds), both in one forward pass, on all cores, and with the same bytes
// whatever the number of workers. It also checks foreign ones down to the last
// sector.
//
// It refuses disks whose content lies in other files (flat, split and raw
// device extents, delta disks with a parent), ESXi's COWD and SESPARSE, and
// more than 2 TiB.
//
// Constants and structures are from VMware's technical note "Virtual Disk
// Format 5.0" (2011); its section names are cited as VDF.
//
//	info, err := vmdk.WriteStream(ctx, w, disk, vmdk.StreamOptions{CID: cid, FileName: "disk1.vmdk"})
package vmdk
