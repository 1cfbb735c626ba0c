# Sourced by the oracles: how they speak and where they keep things.
# shellcheck shell=sh

# shellcheck disable=SC2034 # for those who source this
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/imagebuild-oracles
failures=0

ok() { printf 'ok    %s\n' "$*"; }
fail() {
	printf 'FAIL  %s\n' "$*"
	failures=$((failures + 1))
}
die() {
	printf 'FAIL  %s\n' "$*"
	exit 1
}

# same WHAT WANT GOT
same() {
	if [ "$2" = "$3" ]; then ok "$1: $3"; else fail "$1: want $2, got $3"; fi
}

need() {
	for tool; do
		command -v "$tool" >/dev/null || die "$tool is missing; run .ci/setup oracles, or install the package that has it"
	done
}

# try WHAT COMMAND...: shows the output only when the command fails.
try() {
	what=$1
	shift
	if "$@" >"$WORK/try.log" 2>&1; then
		ok "$what"
	else
		fail "$what"
		tail -n 20 "$WORK/try.log" | sed 's/^/      /'
		return 1
	fi
}

# workdir makes $WORK, which is gone when the script ends.
workdir() {
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/imagebuild-oracle.XXXXXX")
	trap 'rm -rf "$WORK"' EXIT
	trap 'exit 130' INT TERM HUP
}

finish() { [ "$failures" = 0 ]; }
