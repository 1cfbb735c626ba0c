#!/usr/bin/env bash
# Publishes a release with every file of a folder: a draft, the files, a
# comparison with what the server has got, and only then the publication. That
# order is what immutable releases ask for.
#
#   publish.sh TAG FOLDER        with GH_TOKEN and GITHUB_REPOSITORY set
#
# Done again it goes on where it stopped: equal files are not sent twice, and a
# release that is out is only compared.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

tag=$1 folder=$2 repository=${GITHUB_REPOSITORY:?is not set}
check_tag "$tag"
prerelease=false
case $tag in *-*) prerelease=true ;; esac

# Drafts are in the list only, not to be had by their tag.
existing=$(gh api --paginate "repos/$repository/releases?per_page=100" --jq ".[] | select(.tag_name == \"$tag\") | [.id, .draft] | @tsv")
[ "$(wc -l <<< "$existing")" = 1 ] || die "there are several releases for $tag; delete the drafts by hand"
if [ -z "$existing" ]; then
  existing=$(gh api --method POST "repos/$repository/releases" -f tag_name="$tag" -f name="$tag" \
    -F draft=true -F prerelease="$prerelease" -F generate_release_notes=true --jq '[.id, .draft] | @tsv')
fi
read -r id draft <<< "$existing"

# assets prints name, digest and number of each file that the release has; one
# whose upload was cut off has no digest.
assets() {
  gh api --paginate "repos/$repository/releases/$id/assets?per_page=100" --jq '.[] | [.name, .digest // "-", .id] | @tsv'
}

# upload sends a file, unless it is there; one with other bytes is replaced
# while the release is a draft, and is an error when it is out.
upload() {
  local name digest have number
  name=$(basename "$1")
  digest=sha256:$(sha256sum "$1" | cut -d ' ' -f 1)
  have='' number=''
  while IFS=$'\t' read -r each_name each_digest each_number; do
    if [ "$each_name" = "$name" ]; then have=$each_digest number=$each_number; fi
  done <<< "$listed"
  [ "$have" != "$digest" ] || return 0
  [ "$draft" = true ] || die "$tag is published, and its $name is not ours: $have, not $digest"
  if [ -n "$number" ]; then
    gh api --method DELETE "repos/$repository/releases/assets/$number" --silent
  fi
  have=$(gh api --method POST -H 'Content-Type: application/octet-stream' "$url?name=$name" --input "$1" --jq .digest)
  [ "$have" = "$digest" ] || die "$name arrived as $have, not $digest"
}

url=$(gh api "repos/$repository/releases/$id" --jq '.upload_url | sub("\\{.*$"; "")')
listed=$(assets)
for file in "$folder"/*; do
  upload "$file"
done
# In what the server lists, every file has to be there, and nothing else.
want=$(cd "$folder" && sha256sum ./* | sed -E 's|^([0-9a-f]+) [ *]\./(.*)$|\2\tsha256:\1|' | sort)
[ "$(assets | cut -f 1,2 | sort)" = "$want" ] || die "the release $tag does not hold what $folder does"

if [ "$draft" = true ]; then
  gh api --method PATCH "repos/$repository/releases/$id" -F draft=false -F prerelease="$prerelease" --silent
fi
echo "$tag is published with $(wc -l <<< "$want") files"
