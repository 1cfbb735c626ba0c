package build

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/plan"
)

// cacheFormat is raised when older checkpoints can no longer be used.
const cacheFormat = "1"

// CacheKey is what actions/cache has to be told, besides the cache folder. Its
// entries never change: so the key is another one as soon as a build would keep
// something that is not in there, and the restored one is then the newest that
// has the same beginning.
type CacheKey struct {
	Key     string `json:"key"`
	Restore string `json:"restore_keys"` // the beginning of it that all keys of the image have
}

// NewCacheKey makes the key of everything that the plans' builds keep: the
// sources and the steps, of every architecture. What decides no step, such as
// the version, the platforms and their configuration, tests and names, does not
// change it, so that all jobs of a matrix share one. A package archive that has
// moved on does not either, as a plan looks nothing up: the build then uses
// what is new, and keeps it for the rest of its own run only.
func NewCacheKey(plans ...*plan.Plan) CacheKey {
	var names, archs, parts []string
	for _, p := range plans {
		names = append(names, p.Name)
		for _, t := range p.Trees {
			archs = append(archs, t.Arch)
			part := []string{t.Arch, string(t.Engine), t.Disk.Size.String(), t.Source.Digest}
			for _, step := range t.Steps {
				part = append(part, step.Digest)
			}
			parts = append(parts, strings.Join(part, " "))
		}
	}
	unique := func(list []string) []string {
		slices.Sort(list)
		return slices.Compact(list)
	}
	// One image has its name in the key; of several the first says too little,
	// and all of them may be more than the 512 characters that a key can have.
	name := fmt.Sprintf("%d-images", len(unique(names)))
	if names = unique(names); len(names) == 1 {
		name = names[0]
	}
	restore := "imagebuild-" + cacheFormat + "-" + strings.Join(unique(archs), "+") + "-" + name + "-"
	digest := sha256.Sum256([]byte("cache " + cacheFormat + "\n" + recipe + "\n" + strings.Join(unique(parts), "\n")))
	return CacheKey{Key: fmt.Sprintf("%s%x", restore, digest[:16]), Restore: restore}
}
