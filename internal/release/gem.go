package release

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// gemPattern is what RubyGems, and so Vagrant, takes for a version.
// Source: Gem::Version, VERSION_PATTERN, in rubygems/version.rb.
var gemPattern = regexp.MustCompile(`^[0-9]+(\.[0-9a-zA-Z]+)*(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`) //nolint:gochecknoglobals // a constant

// prerelease tells whether RubyGems takes a version for one that comes before
// its release: any letter says so, and so does a dash.
func prerelease(version string) bool {
	return strings.ContainsFunc(version, func(r rune) bool { return r == '-' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' })
}

var segmentPattern = regexp.MustCompile(`[0-9]+|[A-Za-z]+`) //nolint:gochecknoglobals // a constant

// compareVersions orders versions as Gem::Version does: segment by segment, a
// missing one is zero, a word comes before any number.
func compareVersions(a, b string) int {
	left := segmentPattern.FindAllString(strings.ReplaceAll(a, "-", ".pre."), -1)
	right := segmentPattern.FindAllString(strings.ReplaceAll(b, "-", ".pre."), -1)
	for i := range max(len(left), len(right)) {
		x, y := "0", "0"
		if i < len(left) {
			x = left[i]
		}
		if i < len(right) {
			y = right[i]
		}
		if c := compareSegments(x, y); c != 0 {
			return c
		}
	}
	return 0
}

func compareSegments(x, y string) int {
	m, errX := strconv.ParseUint(x, 10, 64)
	n, errY := strconv.ParseUint(y, 10, 64)
	switch {
	case errX == nil && errY == nil:
		return cmp.Compare(m, n)
	case errX == nil:
		return +1
	case errY == nil:
		return -1
	}
	return strings.Compare(x, y)
}
