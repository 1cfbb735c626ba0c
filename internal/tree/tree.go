// Package tree makes, transforms, stores and unpacks image.Trees.
//
// A tree comes from a directory (Dir) or a tar archive (Tar), is changed
// without being copied (Overlay), and goes to a canonical tar (WriteTar) whose
// digest is the image's identity, or into a directory (Extract). Snapshot and
// Diff find what a provisioning step changed, so that it can be stored as a
// layer.
//
// It refuses names that would leave the tree, archives with sparse members,
// and files that change while they are read. Sockets are left out: they mean
// nothing without their process.
//
//	sealed := tree.Overlay(tree.Dir(root), tree.Remove("etc/ssh/ssh_host_*"), tree.ClampTimes(epoch))
//	digest, err := tree.WriteTar(ctx, w, sealed, nil)
package tree
