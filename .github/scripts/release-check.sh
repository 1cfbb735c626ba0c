#!/usr/bin/env bash
# Refuses a release that cannot end well, before anything is built.
#
#   release-check.sh VERSION REF
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=$1 ref=$2
check_version "$version"
[ "$ref" = refs/heads/main ] || die "releases are made of the main branch, and this is $ref"

tagged=$(remote_ref "refs/tags/v$version")
[ -n "$tagged" ] || exit 0
git fetch --quiet --depth 2 origin "$tagged"
[ "$(git rev-parse "$tagged^")" = "$(git rev-parse HEAD)" ] ||
  die "v$version is the release of another commit already; a tag is never moved, so take the next version"
echo "v$version is the release of this commit; what is missing of it will be made"
