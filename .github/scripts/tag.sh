#!/usr/bin/env bash
# Makes the tag of a release: one commit on top of this one, in no branch, in
# which action.yml names the published container by its digest.
#
#   tag.sh VERSION NAME@sha256:DIGEST
#
# The commit depends on nothing but its parent, the version and the digest, so
# doing it again makes the same one. A tag that is there is never moved: if it
# belongs to this commit it stays as it is, otherwise this fails.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=$1 image=$2 tag=v$1
check_version "$version"
[[ $image =~ ^[a-z0-9.:-]+(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}$ ]] || die "\"$image\" does not name an image by its digest"
[ "$(grep -c '^  image: Dockerfile$' action.yml)" = 1 ] || die "action.yml has no line \"  image: Dockerfile\" to pin"
git diff --quiet HEAD || die "the checkout has changes"

existing=$(remote_ref "refs/tags/$tag")
if [ -n "$existing" ]; then
  git fetch --quiet --depth 2 origin "$existing"
  [ "$(git rev-parse "$existing^")" = "$(git rev-parse HEAD)" ] || die "$tag is the release of another commit"
  echo "$tag is $existing already, with $(git show "$existing:action.yml" | sed -n 's/^  image: //p')"
  exit 0
fi

# An index of its own: neither the checkout nor a branch is touched.
index=$(mktemp -d)
trap 'rm -rf "$index"' EXIT
export GIT_INDEX_FILE=$index/index
git read-tree HEAD
pinned=$(sed "s|^  image: Dockerfile\$|  image: docker://$image|" action.yml | git hash-object -w --stdin)
git update-index --cacheinfo "100644,$pinned,action.yml"
date=$(git log -1 --format=%cI)
commit=$(GIT_AUTHOR_NAME=imagebuild GIT_AUTHOR_EMAIL=imagebuild@users.noreply.github.com GIT_AUTHOR_DATE=$date \
  GIT_COMMITTER_NAME=imagebuild GIT_COMMITTER_EMAIL=imagebuild@users.noreply.github.com GIT_COMMITTER_DATE=$date \
  git commit-tree "$(git write-tree)" -p HEAD -m "Release $version" -m "The action runs $image.")
[ "$(git diff --name-only HEAD "$commit")" = action.yml ] || die "more than action.yml differs in the commit of $tag"

# Without force: if somebody was faster, the remote says no.
git push --quiet origin "$commit:refs/tags/$tag"
echo "$tag is $commit"
