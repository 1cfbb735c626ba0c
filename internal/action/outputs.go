package action

import (
	"encoding/json"
	"path"
	"strconv"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/image"
)

// buildOutputs are the outputs of a build, by their names in action.yml.
func buildOutputs(r *build.Result, output string) (map[string]string, error) {
	digests, amis := map[string]string{}, map[string]string{}
	for _, a := range r.Artifacts {
		if a.SHA256 != "" {
			digests[a.Name] = a.SHA256
		}
		if a.Kind == image.AMI {
			amis[a.Region] = a.Reference
		}
	}
	manifest := ""
	if len(r.Trees) > 0 && r.Trees[0].Manifest != "" {
		manifest = path.Join(output, r.Trees[0].Manifest)
	}
	accelerator := "none"
	if len(r.Verified) > 0 {
		accelerator = string(r.Verified[0].Accel)
	}
	values := map[string]string{
		"version": r.Version, "plan-digest": r.PlanDigest, "manifest": manifest, "accelerator": accelerator, "output": output,
	}
	for name, value := range map[string]any{"artifacts": orEmpty(r.Artifacts), "digests": digests, "ami-ids": amis} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		values[name] = string(text)
	}
	return values, nil
}

func orEmpty(list []image.Artifact) []image.Artifact {
	if list == nil {
		return []image.Artifact{} // "[]", not "null"
	}
	return list
}

func releaseOutputs(url string, id int64) map[string]string {
	return map[string]string{"release-url": url, "release-id": strconv.FormatInt(id, 10)}
}
