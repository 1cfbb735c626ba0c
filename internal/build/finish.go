package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/org/imagebuild-action/internal/run"
)

// The records beside the artifacts.
const (
	planFile   = "plan.json"
	resultFile = "result.json"
	sumsFile   = "SHA256SUMS"
)

// finish gives the results their names in the output folder. Everything is
// written and synced before the first rename.
func (b *builder) finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var names []string // below work, in the order of their renames
	sums := map[string]string{}
	for _, artifact := range b.result.Artifacts {
		if artifact.Path == "" {
			continue // it is in a cloud
		}
		names = append(names, filepath.Join("artifacts", artifact.Path))
		sums[artifact.Path] = artifact.SHA256
	}
	for _, t := range b.trees {
		b.result.Trees = append(b.result.Trees, t.result)
		if t.result.Manifest == "" {
			continue // the build ended before the seal, as it was told to
		}
		sum, err := run.FileSHA256(filepath.Join(b.work.Path, t.result.Manifest))
		if err != nil {
			return err
		}
		names = append(names, t.result.Manifest)
		sums[t.result.Manifest] = sum
	}
	planText, err := b.plan.JSON()
	if err != nil {
		return err
	}
	sums[planFile] = fmt.Sprintf("%x", sha256.Sum256(planText))
	resultText, err := json.MarshalIndent(b.result, "", "  ")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(b.clouds.records)) {
		text := b.clouds.records[name]
		sums[name] = fmt.Sprintf("%x", sha256.Sum256(text))
		if err := b.record(name, text); err != nil {
			return err
		}
		names = append(names, name)
	}
	for _, record := range []struct {
		name string
		text []byte
	}{{planFile, planText}, {resultFile, append(resultText, '\n')}, {sumsFile, sumsText(sums)}} {
		if err := b.record(record.name, record.text); err != nil {
			return err
		}
		names = append(names, record.name)
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(b.work.Path, name), filepath.Join(b.Output, filepath.Base(name))); err != nil {
			return run.Explain(err)
		}
	}
	return nil
}

func (b *builder) record(name string, text []byte) error {
	f, err := run.CreateFile(filepath.Join(b.work.Path, name))
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(text); err != nil {
		return run.Explain(err)
	}
	return f.Commit()
}

// sumsText is the format of sha256sum, which "sha256sum -c" checks.
func sumsText(sums map[string]string) []byte {
	names := make([]string, 0, len(sums))
	for name := range sums {
		names = append(names, name)
	}
	sort.Strings(names)
	var text bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&text, "%s  %s\n", sums[name], name)
	}
	return text.Bytes()
}
