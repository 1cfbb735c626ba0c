// Package seal turns the tree of one build into an image: what identifies a
// machine, what the build left behind and what would differ between two builds
// goes, and a scan refuses secrets that nobody put there on purpose.
//
// It is a transformation of a tree into a tree; nothing is changed in place.
//
//	sealed, summary, err := seal.Tree(ctx, tree.Dir(root), seal.Options{Epoch: epoch})
//
// /etc/machine-id becomes an empty file. systemd then makes an id at every
// clone's first boot without taking it for a first boot in its own sense: a
// missing file, or the word "uninitialized", would apply all presets and so
// undo a template's "systemctl disable" (machine-id(5), "First Boot
// Semantics").
//
// It does not reproduce what a program with a clock or a random number of its
// own wrote elsewhere; the content manifest shows that.
package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/tree"
)

// DefaultHostname is the name of a machine that nobody named.
const DefaultHostname = "localhost"

// Options says how an image is sealed.
type Options struct {
	// Epoch is the latest time that any entry may carry.
	Epoch time.Time
	// Hostname goes into /etc/hostname; empty means DefaultHostname.
	Hostname string
	// Keep lists paths, as tree.Remove's patterns, that are left as they are.
	Keep []string
	// BuildKeys are the public keys that the build put into authorized_keys to
	// get in; their lines go.
	BuildKeys []string
	// Allow lists paths that may hold secrets.
	Allow []string
}

// Action is what sealing did to one path.
type Action struct {
	Path string `json:"path"`
	What string `json:"what"` // Removed, Emptied, Written or Stripped
	Why  string `json:"why"`
}

// What an Action did.
const (
	Removed  = "removed"
	Emptied  = "emptied"
	Written  = "written"
	Stripped = "stripped" // of extended attributes that the disk cannot carry
)

// Summary is everything that sealing did, by path.
type Summary []Action

// Tree returns base, sealed. Base is walked once for the names and once for
// the scan, which is a fault of the input if it finds something; reading the
// result walks base again.
func Tree(ctx context.Context, base image.Tree, options Options) (image.Tree, Summary, error) {
	s := &sealer{options: options, present: map[string]image.EntryType{}, gone: map[string]bool{}}
	for _, r := range removed {
		for _, text := range r.patterns {
			s.rules = append(s.rules, compiledRule{compile(text), r.why})
		}
	}
	if err := s.look(ctx, base); err != nil {
		return nil, nil, fmt.Errorf("seal: %w", err)
	}
	s.emptyFolders()
	s.empty()
	s.write()
	s.buildKeys()
	changes := append([]tree.Change{tree.RemoveIf(func(e *image.Entry) bool { return s.gone[e.Path] })}, s.changes...)
	sealed := tree.Overlay(base, append(changes, strip(), tree.ClampTimes(options.Epoch))...)
	slices.SortFunc(s.summary, func(a, b Action) int { return strings.Compare(a.Path, b.Path) })
	if err := scan(ctx, sealed, options.Allow); err != nil {
		return nil, s.summary, fmt.Errorf("seal: %w", err)
	}
	return sealed, s.summary, nil
}

// emptyFolders takes the folders of madeAtBoot in which nothing stays.
func (s *sealer) emptyFolders() {
	for _, name := range madeAtBoot {
		if t, ok := s.present[name]; !ok || t != image.Directory || s.kept(name) {
			continue
		}
		empty := true
		for p := range s.present {
			empty = empty && !strings.HasPrefix(p, name+"/")
		}
		if empty {
			delete(s.present, name)
			s.gone[name] = true
			s.note(name, Removed, "a running system makes it for itself")
		}
	}
}

type compiledRule struct {
	pattern
	why string
}

type sealer struct {
	options Options
	rules   []compiledRule
	present map[string]image.EntryType // what stays
	emptied []image.Entry              // what stays without its content
	gone    map[string]bool
	changes []tree.Change
	summary Summary
}

// look walks the tree and decides what goes.
func (s *sealer) look(ctx context.Context, base image.Tree) error {
	return base.Walk(ctx, func(e *image.Entry, _ io.Reader) error {
		if e.Path == "." {
			return nil
		}
		if s.gone[path.Dir(e.Path)] && !s.kept(e.Path) {
			s.gone[e.Path] = true
			return nil
		}
		if why, ok := s.condemned(e); ok {
			s.gone[e.Path] = true
			s.note(e.Path, Removed, why)
			return nil
		}
		s.present[e.Path] = e.Type
		s.attributes(e)
		isLog := strings.HasPrefix(e.Path, "var/log/")
		if e.Type == image.File && (isLog || e.Path == "etc/machine-id") && !s.kept(e.Path) {
			s.emptied = append(s.emptied, *e)
		}
		return nil
	})
}

// carried is the extended attribute that mke2fs takes from an archive; it drops
// all others without a word (e2fsprogs 1.47.2, tried).
const carried = "security.capability"

// attributes takes what the disk would lose, so that tree and disk are the same.
func (s *sealer) attributes(e *image.Entry) {
	var lost []string
	for name := range e.Xattrs {
		if name != carried {
			lost = append(lost, name)
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		s.note(e.Path, Stripped, "the disk does not carry "+strings.Join(lost, ", "))
	}
}

// strip is the change that attributes announced.
func strip() tree.Change {
	return tree.Adjust(func(e *image.Entry) {
		if value, ok := e.Xattrs[carried]; ok {
			e.Xattrs = map[string]string{carried: value}
		} else {
			e.Xattrs = nil
		}
	})
}

func (s *sealer) condemned(e *image.Entry) (why string, ok bool) {
	if s.kept(e.Path) {
		return "", false
	}
	for _, r := range s.rules {
		if r.match(e.Path) && !s.holdsKept(e) {
			return r.why, true
		}
	}
	if e.Path == "etc/resolv.conf" && e.Type != image.Symlink {
		return "the resolver of the build machine", true
	}
	return "", false
}

func (s *sealer) kept(name string) bool {
	return slices.ContainsFunc(s.options.Keep, func(pattern string) bool {
		return match(pattern, name) || match(strings.TrimSuffix(pattern, "/")+"/**", name)
	})
}

// holdsKept is true for a directory above a kept path, which has to stay too.
func (s *sealer) holdsKept(e *image.Entry) bool {
	return e.Type == image.Directory && slices.ContainsFunc(s.options.Keep, func(pattern string) bool {
		return strings.HasPrefix(strings.Trim(pattern, "/"), e.Path+"/")
	})
}

// empty makes the remaining logs empty: their daemons want them to be there,
// with their owner.
func (s *sealer) empty() {
	for _, e := range s.emptied {
		why := "logs of the build"
		if e.Path == "etc/machine-id" {
			why = "every clone makes its own id at boot"
		}
		e.ModTime = time.Time{} // the epoch, in the end
		s.changes = append(s.changes, tree.Put(e, nil))
		s.note(e.Path, Emptied, why)
	}
}

// write puts in what a machine needs in place of what was taken.
func (s *sealer) write() {
	if !s.directory("etc") {
		return
	}
	hostname := s.options.Hostname
	if hostname == "" {
		hostname = DefaultHostname
	}
	if !s.kept("etc/hostname") {
		s.put("etc/hostname", 0o644, hostname+"\n", "the name of the build machine must not stay")
	}
	if _, ok := s.present["etc/hosts"]; !ok {
		s.put("etc/hosts", 0o644, hosts(hostname), "the machine must be able to look up its own name")
	}
	if _, ok := s.present["etc/machine-id"]; !ok && s.directory("etc/systemd") {
		s.put("etc/machine-id", 0o444, "", "every clone makes its own id at boot")
	}
}

func hosts(hostname string) string {
	text := "127.0.0.1\tlocalhost\n"
	if hostname != DefaultHostname {
		text += "127.0.1.1\t" + hostname + "\n"
	}
	return text + "::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
}

// buildKeys takes the build's own keys out of every authorized_keys.
func (s *sealer) buildKeys() {
	if len(s.options.BuildKeys) == 0 {
		return
	}
	for _, name := range s.names() {
		if s.present[name] != image.File || !strings.HasSuffix(name, "/.ssh/authorized_keys") {
			continue
		}
		s.changes = append(s.changes, tree.Edit(name, func(old []byte) ([]byte, error) {
			var kept strings.Builder
			for line := range strings.Lines(string(old)) {
				if !slices.ContainsFunc(s.options.BuildKeys, func(key string) bool { return sameKey(line, key) }) {
					kept.WriteString(line)
				}
			}
			return []byte(kept.String()), nil
		}))
		s.note(name, Written, "without the keys that the build used")
	}
}

// sameKey compares the encoded keys, whatever options and comments stand
// around them.
func sameKey(line, key string) bool {
	for _, field := range strings.Fields(key) {
		if strings.HasPrefix(field, "AAAA") {
			return slices.Contains(strings.Fields(line), field)
		}
	}
	return false
}

func (s *sealer) put(name string, mode uint32, content, why string) {
	s.changes = append(s.changes, tree.PutFile(name, mode, []byte(content)))
	s.note(name, Written, why)
}

func (s *sealer) note(name, what, why string) {
	s.summary = append(s.summary, Action{Path: name, What: what, Why: why})
}

func (s *sealer) directory(name string) bool {
	kind, ok := s.present[name]
	return ok && kind == image.Directory
}

func (s *sealer) names() []string {
	names := make([]string, 0, len(s.present))
	for name := range s.present {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var errSecrets = errors.New("the image holds secrets")
