#!/bin/sh
# Everything is installed: make the initramfs, keep the packages, and take away
# what only the bootstrap needed.
set -eu
root=$1

if [ -x "$root/usr/bin/dpkg-divert" ]; then
	rm -f "$root/usr/sbin/update-initramfs"
	chroot "$root" dpkg-divert --quiet --local --rename --remove /usr/sbin/update-initramfs
fi
if [ -e "$root/usr/sbin/update-initramfs.wanted" ]; then
	rm "$root/usr/sbin/update-initramfs.wanted"
	for each in "$root"/lib/modules/*/; do
		version=$(basename "$each")
		[ ! -e "$root/boot/vmlinuz-$version" ] || chroot "$root" update-initramfs -c -k "$version"
	done
fi
for each in "$root"/var/cache/apt/archives/*.deb; do
	name=$(basename "$each")
	[ ! -f "$each" ] || [ -e "$IMAGEBUILD_WORK/debs/$name" ] || ln "$each" "$IMAGEBUILD_WORK/debs/$name" 2>/dev/null || cp "$each" "$IMAGEBUILD_WORK/debs/$name"
done
# apt writes the colon of an epoch as %3a in a file's name.
# shellcheck disable=SC2016 # for dpkg-query
chroot "$root" dpkg-query --show --showformat '${Package}_${Version}_${Architecture}.deb\n' | sed 's/:/%3a/' >"$IMAGEBUILD_WORK/used"
rm -f "$root/etc/apt/apt.conf.d/01imagebuild" "$root/etc/dpkg/dpkg.cfg.d/imagebuild"
