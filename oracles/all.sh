#!/bin/sh
# usage: oracles/all.sh FOLDER
#
# Every oracle judges those artifacts of a build's output folder that are for
# it. Exits non-zero if one of them does not take an artifact.
set -eu
# shellcheck source=oracles/lib.sh
. "$(dirname "$0")/lib.sh"

[ -d "${1:-}" ] || die "usage: $0 FOLDER, the output of imagebuild build"
here=$(dirname "$0")
judged=0

# judge SCRIPT FILE...: the pattern that matches nothing is left out.
judge() {
	script=$1
	shift
	for file; do
		[ -e "$file" ] || continue
		judged=$((judged + 1))
		"$here/$script" "$file" || failures=$((failures + 1))
	done
}

judge vagrant.sh "$1"/*.box
judge qemu.sh "$1"/*.qcow2
judge vcenter.sh "$1"/*-vmware-*.ova
judge virt-v2v.sh "$1"/*-vmware-*.ova "$1"/*-virtualbox-*.ova
judge virtualbox.sh "$1"/*-virtualbox-*.ova "$1"/*-virtualbox-*.box
[ "$judged" -gt 0 ] || die "no artifacts in $1"
finish
