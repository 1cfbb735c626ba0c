package bootstrap

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
)

// Populate fills the empty directory dir with the root filesystem.
func (b *Bootstrap) Populate(ctx context.Context, dir string, task report.Task) (err error) {
	// Beside dir, so that packages are linked instead of copied.
	work, remove, err := b.workDir(ctx, filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer func() {
		if removeErr := remove(); err == nil {
			err = removeErr
		}
	}()
	pool := &pool{dir: filepath.Join(b.request.CacheDir, "packages", b.config.Distribution+"-"+b.request.Arch)}
	if err := pool.stage(ctx, filepath.Join(work, "debs")); err != nil {
		task.Warn("downloaded packages of earlier builds cannot be used: %v", err)
	}
	namespace, err := contain(ctx)
	if err != nil {
		return err
	}
	argv := slices.Concat(namespace, b.command())
	argv = append(argv, "--verbose", "--variant="+b.config.Variant, "--skip=essential/unlink")
	if packages := b.packages(); len(packages) > 0 { // an empty list is a mistake in its eyes
		argv = append(argv, "--include="+strings.Join(packages, ","))
	}
	for _, hook := range []string{"setup", "extract", "essential", "customize"} {
		argv = append(argv, "--"+hook+"-hook="+filepath.Join(work, hook+".sh"))
	}
	argv = append(argv, b.place(dir)...)
	out := &output{task: task}
	lines := run.LineWriter(out.line)
	err = run.Run(ctx, run.Spec{Argv: argv, Env: b.environ(work), Stdout: lines, Stderr: lines, Group: true})
	_ = lines.Close()
	if err != nil {
		if names, readErr := os.ReadFile(filepath.Join(work, "pkgnames")); readErr == nil {
			out.pkgnames = strings.Fields(string(names))
		}
		return b.explain(ctx, out, err)
	}
	if err := normalize(dir); err != nil {
		return err
	}
	if err := pool.keep(ctx, work); err != nil {
		task.Warn("the downloaded packages cannot be kept for the next build: %v", err)
	}
	state, err := b.stateOf(filepath.Join(work, "lists"))
	if err != nil {
		return err
	}
	if b.state != "" && b.state != state {
		task.Note("the package archive has changed since this build began; the tree is the newer one")
	}
	b.state = state
	return nil
}

// normalize undoes what depends on this machine. apt gives its download folders
// to its own user only where that user can reach them; inside the image it does
// so by itself at its first run.
func normalize(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return run.Explain(err)
	}
	defer root.Close() //nolint:errcheck // only a directory
	for _, name := range []string{"var/cache/apt/archives/partial", "var/lib/apt/lists/partial"} {
		if err := ignoreMissing(root.Lchown(name, 0, 0)); err != nil {
			return run.Explain(err)
		}
	}
	return nil
}

// namespaces is the command that runs another with its own process ids, mounts
// and host name: when it dies, all that the other started dies with it, and no
// package learns the name of this machine.
var namespaces = []string{ //nolint:gochecknoglobals // a constant
	"unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
	"sh", "-c", `hostname localhost; exec "$@"`, "sh",
}

// contain returns the prefix of a command line that gives it its own
// namespaces, or nothing where they are not to be had.
func contain(ctx context.Context) ([]string, error) {
	probe := append(slices.Clone(namespaces), "true")
	err := run.Run(ctx, run.Spec{Argv: probe})
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return nil, nil //nolint:nilerr // a container without them: do without
	}
	return slices.Clone(namespaces), nil
}
