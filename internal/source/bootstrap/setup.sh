#!/bin/sh
# Before the first package list: what only the bootstrap itself needs, and the
# template's repositories, which stay.
set -eu
root=$1

mkdir -p "$root/etc/apt/apt.conf.d" "$root/etc/apt/sources.list.d" "$root/etc/dpkg/dpkg.cfg.d" "$root/var/cache/apt/archives"
cp "$IMAGEBUILD_WORK/apt.conf" "$root/etc/apt/apt.conf.d/01imagebuild"
# The tree is thrown away if the machine goes down: syncing each file is vain.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/imagebuild"
# Packages write it into their configuration; this machine's has no place there.
echo localhost >"$root/etc/hostname"
for each in "$IMAGEBUILD_WORK"/sources/*; do
	[ ! -f "$each" ] || cp "$each" "$root/etc/apt/sources.list.d/"
done
if [ -n "${IMAGEBUILD_PROBE-}" ]; then
	# Only the list of archives was wanted. mmdebstrap ends here.
	cat "$root/etc/apt/sources.list" >"$IMAGEBUILD_WORK/sources.list"
	exit 1
fi
for each in "$IMAGEBUILD_WORK"/debs/*.deb; do
	[ ! -f "$each" ] || ln "$each" "$root/var/cache/apt/archives/" 2>/dev/null || cp "$each" "$root/var/cache/apt/archives/"
done
