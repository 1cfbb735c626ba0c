#!/bin/sh
# usage: oracles/vcenter.sh OVA...
#
# govmomi's simulated vCenter imports our VMware OVAs: the envelope through its
# OVF manager, the disk over a real NFC upload. Needs Go.
set -eu
# shellcheck source=oracles/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || die "usage: $0 OVA..."
need go realpath
workdir
for ova; do
	echo "== $ova"
	path=$(realpath "$ova")
	try "imported and uploaded" env IMAGEBUILD_OVA="$path" \
		go -C "$(dirname "$0")/.." test -count=1 -timeout 10m -run '^TestVCenterTakesOurOVA$' ./platforms || :
done
finish
