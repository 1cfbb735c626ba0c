#!/bin/sh
# The lists are here and nothing is installed yet: the moment to find out that
# a package does not exist, and to note which archive state this is.
set -eu
root=$1

mkdir "$IMAGEBUILD_WORK/lists"
for each in "$root"/var/lib/apt/lists/*Release; do
	[ ! -f "$each" ] || cp "$each" "$IMAGEBUILD_WORK/lists/"
done
[ -s "$IMAGEBUILD_WORK/packages" ] || exit 0
# Without this apt would look into this machine's lists instead of the tree's:
# mmdebstrap takes the variable away from hooks and keeps it under this name.
export APT_CONFIG="${MMDEBSTRAP_APT_CONFIG?}"
# shellcheck disable=SC2046 # one word a package, checked before
if ! apt-get --simulate --yes install $(cat "$IMAGEBUILD_WORK/packages") >"$IMAGEBUILD_WORK/simulate" 2>&1; then
	if grep '^E: Unable to locate package' "$IMAGEBUILD_WORK/simulate" >&2; then
		apt-cache pkgnames >"$IMAGEBUILD_WORK/pkgnames"
		exit 1
	fi
	# Anything else may still come right: the real run decides.
fi
