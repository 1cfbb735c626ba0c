#!/usr/bin/env bash
# Moves the tag that most people use, v1, to a release: the newest of its
# major version, and no release candidate.
#
#   move-major.sh v1.2.3
set -euo pipefail
. "$(dirname "$0")/lib.sh"

tag=$1
check_tag "$tag"
case $tag in *-*) echo "$tag is not final: nothing is moved"; exit 0 ;; esac
major=${tag%%.*}

newest=$(git ls-remote origin "refs/tags/$major.*" | sed -nE "s|.*refs/tags/($major\.[0-9]+\.[0-9]+)\$|\1|p" | sort -V | tail -n 1)
[ -n "$newest" ] || die "the remote has no $tag"
if [ "$newest" != "$tag" ]; then
  echo "$newest is newer than $tag: $major stays"
  exit 0
fi
commit=$(remote_ref "refs/tags/$tag")
git fetch --quiet --depth 1 origin "$commit"
old=$(remote_ref "refs/tags/$major")
# Only from where we saw it.
git push --quiet --force-with-lease="refs/tags/$major:$old" origin "$commit:refs/tags/$major"
echo "$major is $tag now"
