#!/bin/sh
# usage: oracles/virtualbox.sh ARTIFACT...
#
# VirtualBox 7 judges our OVAs and boxes: it imports them, its machines are
# compared with what the envelope promises, and the disk that it reads out of
# the VMDK is compared byte by byte with the one that QEMU reads.
#
# VirtualBox comes from Debian sid, into a tree of its own that is made once
# (about two and a half minutes and 1.1 GB) and kept in
# $XDG_CACHE_HOME/imagebuild-oracles. It runs in namespaces of its own; no
# virtual machine is started and no kernel module needed. Needs root.
set -eu
# shellcheck source=oracles/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || die "usage: $0 ARTIFACT..."
[ "$(id -u)" = 0 ] || die "VirtualBox's tree can be made and entered by root only"
need mmdebstrap unshare qemu-img tar cmp

TREE=$CACHE/virtualbox
make_tree() {
	mkdir -p "$CACHE"
	# sid's Release file in a snapshot may be old: its date is of no concern here.
	# virtualbox-source stands in for virtualbox-dkms, which would want a compiler.
	mmdebstrap --variant=minbase --components=main,contrib \
		--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
		--include=virtualbox,virtualbox-source sid "$CACHE/virtualbox.part.tar"
	rm -rf "$TREE.part"
	mkdir "$TREE.part"
	tar -C "$TREE.part" -xpf "$CACHE/virtualbox.part.tar"
	rm "$CACHE/virtualbox.part.tar"
	mv "$TREE.part" "$TREE"
}
if [ ! -d "$TREE" ]; then
	echo "making VirtualBox's tree, once; this takes some minutes"
	make_tree >"${TMPDIR:-/tmp}/imagebuild-oracle-tree.log" 2>&1 ||
		die "could not make VirtualBox's tree: $(tail -n 3 "${TMPDIR:-/tmp}/imagebuild-oracle-tree.log")"
fi

workdir

# vbox COMMANDS: runs shell commands in the tree, with $WORK as /exchange. The pid
# namespace takes VirtualBox's service with it when the commands end.
vbox() {
	# shellcheck disable=SC2016 # the inner shell expands these
	unshare --mount --pid --fork --kill-child --propagation private sh -euc '
		mount -t tmpfs tmpfs "$1/tmp"
		mkdir -p "$1/exchange"
		mount --bind "$2" "$1/exchange"
		mount --rbind /dev "$1/dev"
		mount -t proc proc "$1/proc"
		exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp VBOX_USER_HOME=/tmp/vbox LC_ALL=C.UTF-8 sh -euc "$3"
	' sh "$TREE" "$WORK" "$1"
}

# item TYPE ELEMENT: an element of the envelope's item of a resource type.
item() {
	sed -n '/<Item>/,/<\/Item>/p' "$WORK/envelope" | tr -d '\n' | sed 's|</Item>|&\n|g' |
		sed -n "/<rasd:ResourceType>$1</s|.*<rasd:$2>\([^<]*\)</rasd:$2>.*|\1|p"
}

# info KEY: a value of showvminfo.
info() { sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$WORK/info" | head -n 1; }

controller_name() {
	case $1 in
	AHCI) echo IntelAhci ;;
	PIIX4) echo PIIX4 ;;
	lsilogic) echo LsiLogic ;;
	NVMe) echo NVMe ;;
	VirtioSCSI) echo VirtioSCSI ;;
	esac
}

nic_name() {
	case $1 in
	E1000) echo 82540EM ;;
	virtio-net) echo virtio ;;
	esac
}

# judge LABEL FILE: FILE, in $WORK, is what VirtualBox is to import.
judge() {
	echo "== $1"
	try "import" vbox "cd /exchange && VBoxManage setproperty machinefolder /exchange/machines >/dev/null &&
		VBoxManage import '$2' --vsys 0 --vmname judged && VBoxManage showvminfo judged --machinereadable >info" || return 0
	same "cpus" "$(item 3 VirtualQuantity)" "$(info cpus)"
	same "memory in MiB" "$(item 4 VirtualQuantity)" "$(info memory)"
	want=$(sed -n 's/.*<Firmware type="\([A-Z]*\)".*/\1/p' "$WORK/envelope")
	same "firmware" "$want" "$(info firmware)"
	same "controller" "$(controller_name "$(item '\(5\|6\|20\)' ResourceSubType)")" "$(info storagecontrollertype0)"
	same "network card" "$(nic_name "$(item 10 ResourceSubType)")" "$(info nictype1)"
	same "network" "nat" "$(info nic1)"
	same "hardware clock in UTC" "on" "$(info rtcuseutc)"
	disk=$(sed -n 's/.*ovf:href="\([^"]*\)".*/\1/p' "$WORK/envelope")
	rm -rf "$WORK/machines"
	try "read the disk" vbox "cd /exchange && VBoxManage clonemedium disk 'box/$disk' /exchange/vbox.raw --format RAW" || return 0
	qemu-img convert -f vmdk -O raw "$WORK/box/$disk" "$WORK/qemu.raw"
	try "the same $(stat -c %s "$WORK/qemu.raw") bytes as QEMU reads" cmp "$WORK/vbox.raw" "$WORK/qemu.raw" || :
}

for artifact; do
	rm -rf "${WORK:?}"/*
	mkdir "$WORK/box"
	tar -C "$WORK/box" -xf "$artifact"
	case $artifact in
	*.ova)
		cp "$artifact" "$WORK/image.ova"
		cp "$WORK/box"/*.ovf "$WORK/envelope"
		judge "$artifact" /exchange/image.ova
		;;
	*)
		cp "$WORK/box/box.ovf" "$WORK/envelope"
		judge "$artifact, box.ovf" /exchange/box/box.ovf
		;;
	esac
done
finish
