# shellcheck shell=bash
# What the release's scripts have in common.

# die says what is wrong, as an annotation where a runner reads along.
die() {
  if [ -n "${GITHUB_ACTIONS-}" ]; then echo "::error::$*"; else echo "$0: $*" >&2; fi
  exit 1
}

# A version as in semver.org 2.0.0, without build metadata: that has no place
# in a container's tag.
number='(0|[1-9][0-9]*)'
semver="^$number\.$number\.$number(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?\$"

check_version() {
  [[ $1 =~ $semver ]] || die "\"$1\" is no version; want one as in 1.2.3 or 1.3.0-rc.1, without a v"
}

# check_tag is check_version for a tag.
check_tag() {
  [[ $1 == v* ]] || die "\"$1\" is no tag of a release; want one as in v1.2.3"
  check_version "${1#v}"
}

# remote_ref prints what a ref of the remote names; nothing when there is none.
remote_ref() {
  local line
  line=$(git ls-remote origin "$1")
  printf '%s' "${line%%[[:space:]]*}"
}
