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
	value() { sed -n "s/^ *$1: *//p" "$WORK/source" | head -n 1; }
	same "name" "$(sed -n 's|^    <Name>\(.*\)</Name>|\1|p' "$WORK/envelope")" "$(value 'source name')"
	same "cpus" "$(element 3 VirtualQuantity)" "$(value 'nr vCPUs')"
	same "memory in bytes" "$(($(element 4 VirtualQuantity) << 20))" "$(value memory | sed 's/ .*//')"
	case $(element '\(5\|6\|20\)' ResourceType) in 5) bus=ide ;; 6) bus=scsi ;; *) bus=sata ;; esac
	same "disk" "0 [$bus]" "$(sed -n '/^disks:/,/^removable/s/^[[:space:]]*\([0-9].*\)/\1/p' "$WORK/source")"
	nic=$(element 10 ResourceSubType | tr '[:upper:]' '[:lower:]')
	same "network card" "Bridge \"NAT\" [$nic]" "$(sed -n 's/^[[:space:]]*\(Bridge.*\)/\1/p' "$WORK/source")"
	if grep -q 'vmw:value="efi"' "$WORK/envelope"; then firmware=uefi; else firmware=bios; fi
	case $ova in *virtualbox*) ;; *) same "firmware" $firmware "$(value firmware)" ;; esac
done
finish
