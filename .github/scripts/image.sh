#!/usr/bin/env bash
# Builds the container of this commit, pushes it, and prints its name and
# digest as outputs of a step.
#
#   image.sh NAME VERSION
#
# The images that it is made from are pinned by the digest that they have now;
# the labels name version and commit.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=$1 version=$2
check_version "$version"

# pinned pulls an image that the Dockerfile starts from and prints it by digest.
pinned() {
  local tagged
  tagged=$(sed -n "s/^ARG $1=//p" Dockerfile)
  [ -n "$tagged" ] || die "the Dockerfile has no ARG $1 with a default"
  docker pull --quiet "$tagged" >&2
  docker image inspect --format '{{index .RepoDigests 0}}' "$tagged"
}

go_image=$(pinned GO_IMAGE)
base_image=$(pinned BASE_IMAGE)
docker build \
  --build-arg GO_IMAGE="$go_image" --build-arg BASE_IMAGE="$base_image" \
  --build-arg VERSION="$version" --build-arg REVISION="$(git rev-parse HEAD)" \
  --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" \
  --tag "$name:$version" . >&2
[[ $(docker run --rm "$name:$version" version) == "imagebuild $version "* ]] || die "the container does not say that it is $version"
docker push --quiet "$name:$version" >&2

# The registry's word for it; an image that was pushed has it.
digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$name:$version" | sed -n "s|^$name@||p" | head -n 1)
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || die "docker names no digest for $name:$version"
echo "name=$name"
echo "digest=$digest"
