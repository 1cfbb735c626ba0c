package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Self is the container that this process is in.
type Self struct {
	ID      string
	Image   string // the id, so that nothing has to be pulled
	Command []string

	config *container.Config
	host   *container.HostConfig
}

// FindSelf asks the daemon behind socket (empty: DefaultSocket) for the
// container that this process is in.
func FindSelf(ctx context.Context, socket string) (*Self, error) {
	d, err := dial(ctx, socket, runnerTiming)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return findSelf(ctx, d, here{root: "/"})
}

// here is where a process looks for its container's name; tests have a root of
// their own.
type here struct {
	root     string
	hostname string
}

func (h here) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(h.root, name)) // a missing source says nothing
	return string(text)
}

var containerID = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// candidates lists what our container may be called, best first: the host name
// is the short id unless --hostname or --network=host gave another; the files
// that Docker mounts over /etc lie in the container's folder; and version 1 of
// the control groups has the id in the path.
func (h here) candidates() []string {
	name := h.hostname
	if name == "" {
		name, _ = os.Hostname()
	}
	var names []string
	if regexp.MustCompile(`^[0-9a-f]{12,64}$`).MatchString(name) {
		names = append(names, name)
	}
	for line := range strings.Lines(h.read("proc/self/mountinfo")) {
		fields := strings.Fields(line)
		if len(fields) > 4 && slices.Contains([]string{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}, fields[4]) {
			names = append(names, containerID.FindAllString(fields[3], -1)...)
		}
	}
	names = append(names, containerID.FindAllString(h.read("proc/self/cgroup"), -1)...)
	// With the network of another container, host name and /etc are the other's:
	// our mounts decide, in findSelf.
	var unique []string
	for _, each := range names {
		if !slices.Contains(unique, each) {
			unique = append(unique, each)
		}
	}
	return unique
}

// mounts is what a process sees mounted: where, and which folder of the host's
// takes what is written to the root, if an overlay does.
type mounts struct {
	root     string
	points   map[string]bool
	upperDir string
}

var upperDir = regexp.MustCompile(`(?:^|[ ,])upperdir=([^ ,]+)`)

func (h here) mounts() mounts {
	m := mounts{root: h.root, points: map[string]bool{}}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`) // proc(5)
	for line := range strings.Lines(h.read("proc/self/mountinfo")) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		m.points[unescape.Replace(fields[4])] = true
		if found := upperDir.FindStringSubmatch(line); fields[4] == "/" && found != nil {
			m.upperDir = found[1]
		}
	}
	return m
}

// has reports whether something is mounted at a path, or where it leads:
// /var/run is a link to /run.
func (m mounts) has(path string) bool {
	real, err := filepath.EvalSymlinks(filepath.Join(m.root, path))
	if err != nil {
		return m.points[filepath.Clean(path)]
	}
	real = "/" + strings.TrimPrefix(strings.TrimPrefix(real, filepath.Clean(m.root)), "/")
	return m.points[real] || m.points[filepath.Clean(path)]
}

// doubt says why a container cannot be ours; empty means that it can.
func (m mounts) doubt(c *container.InspectResponse) string {
	for _, mount := range c.Mounts {
		if !m.has(mount.Destination) {
			return fmt.Sprintf("has %s mounted, and we have not", mount.Destination)
		}
	}
	if m.upperDir != "" && c.GraphDriver != nil && c.GraphDriver.Data["UpperDir"] != "" && c.GraphDriver.Data["UpperDir"] != m.upperDir {
		return "has another root"
	}
	return ""
}

func findSelf(ctx context.Context, d *daemon, h here) (*Self, error) {
	names := h.candidates()
	if len(names) == 0 {
		return nil, errors.New("neither the host name nor the mounts tell which container this is; is it one?")
	}
	seen := h.mounts()
	var doubts []string
	for _, name := range names {
		self, doubt, err := inspect(ctx, d, name, seen)
		if err != nil {
			return nil, fmt.Errorf("inspect container %.12s: %w", name, err)
		}
		if self != nil {
			return self, nil
		}
		doubts = append(doubts, fmt.Sprintf("%.12s %s", name, doubt))
	}
	return nil, fmt.Errorf("none of this daemon's containers is ours: %s", strings.Join(doubts, ", "))
}

// inspect returns the container of that name if it is ours, or the doubt.
func inspect(ctx context.Context, d *daemon, name string, seen mounts) (_ *Self, doubt string, _ error) {
	ctx, cancel := context.WithTimeout(ctx, d.timing.call)
	defer cancel()
	result, err := d.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil, "is not known to it", nil
	}
	if err != nil {
		return nil, "", err
	}
	c := result.Container
	switch {
	case c.ID == "" || c.Image == "" || c.Config == nil || c.HostConfig == nil || c.Path == "":
		return nil, "is described incompletely", nil
	case !strings.HasPrefix(c.ID, name):
		return nil, "is only the name of another", nil
	case c.State == nil || !c.State.Running:
		return nil, "is not running", nil
	}
	if doubt := seen.doubt(&c); doubt != "" {
		return nil, doubt, nil
	}
	return &Self{ID: c.ID, Image: c.Image, Command: append([]string{c.Path}, c.Args...), config: c.Config, host: c.HostConfig}, "", nil
}
