#!/bin/sh
# usage: oracles/qemu.sh DISK...
#
# QEMU checks the tables of our qcow2 disks.
set -eu
# shellcheck source=oracles/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || die "usage: $0 DISK..."
need qemu-img
workdir
for disk; do
	echo "== $disk"
	try "qemu-img check" qemu-img check -q "$disk" || continue
	ok "$(qemu-img info "$disk" | sed -n 's/^virtual size: //p')"
done
finish
