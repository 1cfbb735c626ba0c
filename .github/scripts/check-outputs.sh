#!/usr/bin/env bash
# Holds what the action said of its results against the files: the last word
# of the job that runs the action on itself. It reads the outputs from the
# environment: ARTIFACTS DIGESTS OUTPUT MANIFEST ACCELERATOR RELEASE_URL.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ "$ACCELERATOR" = kvm ] || die "the images were booted with \"$ACCELERATOR\", and this runner has kvm"
[ -z "$RELEASE_URL" ] || die "a build that is no release published one: $RELEASE_URL"
[ -s "$MANIFEST" ] || die "there is no manifest at \"$MANIFEST\""
[ "$(jq length <<< "$ARTIFACTS")" -gt 0 ] || die "no artifacts: $ARTIFACTS"
[ "$(jq -c '[.[].name] | sort' <<< "$ARTIFACTS")" = "$(jq -c 'keys' <<< "$DIGESTS")" ] ||
  die "artifacts and digests do not name the same files: $ARTIFACTS $DIGESTS"
(cd "$OUTPUT" && jq -r 'to_entries[] | "\(.value)  \(.key)"' <<< "$DIGESTS" | sha256sum --check --strict) ||
  die "the files in $OUTPUT are not those of the outputs"
