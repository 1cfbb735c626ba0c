#!/bin/sh
# usage: oracles/vagrant.sh BOX...
#
# Vagrant adds our boxes, in a home of its own, and finds them again under the
# provider that their metadata.json names.
set -eu
# shellcheck source=oracles/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || die "usage: $0 BOX..."
need vagrant tar
workdir
VAGRANT_HOME=$WORK/home
VAGRANT_CHECKPOINT_DISABLE=1
export VAGRANT_HOME VAGRANT_CHECKPOINT_DISABLE

n=0
for box; do
	echo "== $box"
	n=$((n + 1))
	provider=$(tar -xOf "$box" metadata.json | sed -n 's/.*"provider": "\([^"]*\)".*/\1/p')
	case $box in /*) url=$box ;; *) url=$PWD/$box ;; esac
	try "vagrant box add" vagrant box add --name "judged-$n" "$url" || continue
	installed=$VAGRANT_HOME/boxes/judged-$n/0
	# A newer Vagrant has a folder for the architecture in between.
	folder=$(find "$installed" -name metadata.json -path "*/$provider/*" -exec dirname {} \;)
	if [ -n "$folder" ]; then ok "added for provider $provider"; else fail "not added for provider $provider"; fi
	mkdir "$WORK/$n"
	tar -C "$WORK/$n" -xf "$box"
	try "unpacked as it was packed" diff -r "$WORK/$n" "$folder" || :
	try "its Vagrantfile is Ruby" ruby -c "$folder/Vagrantfile" || :
	rm -rf "${WORK:?}/$n" "$installed"
done
finish
