#!/bin/sh
# usage: oracles/virt-v2v.sh OVA...
#
# virt-v2v, which turns VMware's machines into KVM's, reads our OVAs: it checks
# the manifest and says what machine it sees in the envelope.
set -eu
# shellcheck source=oracles/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || die "usage: $0 OVA..."
need virt-v2v qemu-img tar
workdir

# element TYPE ELEMENT: of the envelope's item of a resource type.
element() {
	sed -n '/<Item>/,/<\/Item>/p' "$WORK/envelope" | tr -d '\n' | sed 's|</Item>|&\n|g' |
		sed -n "/<rasd:ResourceType>$1</s|.*<rasd:$2>\([^<]*\)</rasd:$2>.*|\1|p"
}

for ova; do
	echo "== $ova"
	tar -xOf "$ova" --wildcards '*.ovf' >"$WORK/envelope"
	LIBGUESTFS_BACKEND=direct
	export LIBGUESTFS_BACKEND
	if ! virt-v2v -i ova "$ova" --print-source >"$WORK/source" 2>"$WORK/try.log"; then
		fail "virt-v2v --print-source"
		tail -n 20 "$WORK/try.log" | sed 's/^/      /'
		continue
	fi
	ok "virt-v2v --print-source"
	sed 's/^/      /' "$WORK/source"
	value() { sed -n "s/^ *$1: *//p" "$WORK/source" | head -n 1; }
	same "name" "$(sed -n 's|^    <Name>\(.*\)</Name>|\1|p' "$WORK/envelope")" "$(value 'source name')"
	same "cpus" "$(element 3 VirtualQuantity)" "$(value 'nr vCPUs')"
	same "memory in bytes" "$(($(element 4 VirtualQuantity) << 20))" "$(value memory | sed 's/ .*//')"
	same "disks" 1 "$(sed -n '/^disks:/,/^[a-z].*:$/p' "$WORK/source" | grep -c '^ *[0-9]')"
done
finish
