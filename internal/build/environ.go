package build

import (
	"errors"
	"path/filepath"
	"strconv"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
)

// Lookup finds a variable of the environment, as os.LookupEnv does.
type Lookup = func(name string) (string, bool)

// Epoch reads SOURCE_DATE_EPOCH (reproducible-builds.org): whole seconds since
// 1970. Without it the time is zero, and the image's times come from its
// source.
func Epoch(lookup Lookup) (time.Time, error) {
	text, ok := lookup("SOURCE_DATE_EPOCH")
	if !ok || text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds <= 0 {
		return time.Time{}, fault.Errorf(fault.Input, "SOURCE_DATE_EPOCH=%q: want a positive number of seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// CacheDir is where downloads and checkpoints are kept between builds, unless
// somebody says otherwise: an absolute path.
func CacheDir(lookup Lookup) (string, error) {
	for _, name := range []string{"IMAGEBUILD_CACHE", "XDG_CACHE_HOME", "HOME"} {
		base, ok := lookup(name)
		switch {
		case !ok || base == "":
			continue
		case name == "IMAGEBUILD_CACHE":
			return filepath.Abs(base)
		case name == "HOME":
			return filepath.Join(base, ".cache", "imagebuild"), nil
		}
		return filepath.Join(base, "imagebuild"), nil
	}
	return "", fault.Wrap(fault.Environment, errors.New("no folder for the cache: set HOME or pass --cache-dir"))
}
