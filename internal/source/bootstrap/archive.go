package bootstrap

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// fetchState asks the archives for their signed release files alone, which
// name the digests of the package lists.
func (b *Bootstrap) fetchState(ctx context.Context) (state string, err error) {
	work, remove, err := b.workDir(ctx, b.request.CacheDir)
	if err != nil {
		return "", err
	}
	defer func() {
		if removeErr := remove(); err == nil {
			err = removeErr
		}
	}()
	// mmdebstrap knows the archives of a release; the setup hook takes its
	// list and ends it before it does anything else.
	root := filepath.Join(work, "root")
	argv := append(b.command(), "--variant=extract", "--setup-hook="+filepath.Join(work, "setup.sh"))
	argv = append(argv, b.place(root)...)
	out := &output{}
	runErr := run.Run(ctx, run.Spec{Argv: argv, Env: b.environ(work, "IMAGEBUILD_PROBE=1"), Stdout: out, Stderr: out, Group: true})
	list := filepath.Join(work, "sources.list")
	if _, err := os.Stat(list); err != nil {
		return "", b.explain(ctx, out, runErr)
	}
	lists := filepath.Join(work, "state", "lists")
	for _, dir := range []string{filepath.Join(lists, "partial"), filepath.Join(work, "cache", "archives", "partial")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", run.Explain(err)
		}
	}
	if err := b.writeAptConfig(work); err != nil {
		return "", err
	}
	out = &output{}
	// Without a network this must end soon: there may be a tree in a cache.
	update := []string{"apt-get", "update", "--error-on=any", "-oAcquire::Retries=1"}
	for _, scheme := range []string{"http", "https"} {
		update = append(update, "-oAcquire::"+scheme+"::Timeout=15")
	}
	for _, target := range []string{"Packages", "Translations"} {
		update = append(update, "-oAcquire::IndexTargets::deb::"+target+"::DefaultEnabled=false")
	}
	env := run.Environ("APT_CONFIG=" + filepath.Join(work, "private.conf"))
	if err := run.Run(ctx, run.Spec{Argv: update, Env: env, Stdout: out, Stderr: out, Group: true}); err != nil {
		return "", b.explain(ctx, out, err)
	}
	return b.stateOf(lists)
}

// writeAptConfig makes apt use nothing of this machine's but its keys, and the
// way to the network that apt.conf holds.
func (b *Bootstrap) writeAptConfig(work string) error {
	network, err := os.ReadFile(filepath.Join(work, "apt.conf"))
	if err != nil {
		return run.Explain(err)
	}
	text := fmt.Sprintf(`APT::Architecture %[2]q;
APT::Architectures { %[2]q; };
APT::Sandbox::User "";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "%[1]s/sources.list";
Dir::Etc::SourceParts "%[1]s/sources";
Dir::State "%[1]s/state";
Dir::State::Status "/dev/null";
Dir::Cache "%[1]s/cache";
Acquire::Languages "none";
`, work, b.request.Arch)
	return run.Explain(os.WriteFile(filepath.Join(work, "private.conf"), append([]byte(text), network...), 0o644))
}

// stateOf describes the archives whose release files are in dir: for each the
// digests of the package lists that count, so that a release file which was
// only signed anew changes nothing.
func (b *Bootstrap) stateOf(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*Release"))
	if err != nil {
		return "", err
	}
	slices.Sort(names)
	var state strings.Builder
	seen := map[string]bool{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", run.Explain(err)
		}
		fmt.Fprintf(&state, "%s\n", filepath.Base(name))
		lines := packageLists(string(data), b.request.Arch, b.components(), seen)
		if len(lines) == 0 {
			sum := sha256.Sum256(data)
			lines = []string{hex.EncodeToString(sum[:])}
		}
		for _, line := range lines {
			fmt.Fprintf(&state, " %s\n", line)
		}
	}
	if state.Len() == 0 {
		return "", fmt.Errorf("apt left no release file")
	}
	for _, component := range b.config.Components {
		if !seen[component] {
			return "", fault.Errorf(fault.Input, "%s", b.noComponent(nil, []string{"", component}))
		}
	}
	return state.String(), nil
}

// components are those of the release and of all further repositories.
func (b *Bootstrap) components() []string {
	all := slices.Clone(b.config.Components)
	for _, r := range b.config.Repositories {
		all = append(all, r.Components...)
	}
	return all
}

// packageLists returns the SHA256 lines of a release file that name the
// uncompressed package lists of arch in the components, and marks the
// components that it has (Debian's repository format, "Release" files).
func packageLists(release, arch string, components []string, seen map[string]bool) []string {
	var found []string
	inside := false
	scanner := bufio.NewScanner(strings.NewReader(release))
	for scanner.Scan() {
		line := scanner.Text()
		if !strings.HasPrefix(line, " ") {
			inside = line == "SHA256:"
			continue
		}
		fields := strings.Fields(line)
		if !inside || len(fields) != 3 {
			continue
		}
		name := fields[2]
		component, list, _ := strings.Cut(name, "/binary-")
		if name == "Packages" || slices.Contains(components, component) && (list == arch+"/Packages" || list == "all/Packages") {
			seen[component] = true
			found = append(found, fields[0]+" "+name)
		}
	}
	slices.Sort(found)
	return found
}
