#!/usr/bin/env bash
# Builds the static programs of a release and their checksums.
#
#   binaries.sh VERSION FOLDER
#
# The same commit, version and Go give the same bytes, in any folder.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=$1 folder=$2
check_version "$version"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/../.."
for arch in amd64 arm64; do
  CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 GOFLAGS='' \
    go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/org/imagebuild-action/internal/cli.Version=$version" \
    -o "$folder/imagebuild-$version-linux-$arch" ./cmd/imagebuild
done
cd "$folder"
sha256sum imagebuild-"$version"-linux-* > SHA256SUMS
