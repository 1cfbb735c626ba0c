// Package vagrant is the declared overlay that makes an image a Vagrant box:
// the user vagrant, who gets in with the insecure keys that everybody has and
// may do everything. Vagrant replaces the keys at the first "vagrant up".
//
//	box, differences, err := vagrant.Overlay(ctx, sealed, epoch)
//
// Nothing else of the image changes, and every change is listed. The user has
// no password: Vagrant logs in by key, and a box with a well-known password
// would be open to the network wherever passwords are allowed. It refuses an
// image without sudo, which Vagrant needs.
package vagrant

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/tree"
)

// User is the user's name, and that of the user's group.
const User = "vagrant"

// firstID is where Debian's ordinary users begin (adduser.conf, FIRST_UID).
const firstID = 1000

// InsecureKeys are the public halves of the keys that Vagrant tries first: the
// old RSA key, and the Ed25519 key since Vagrant 2.3.8.
// Source: https://github.com/hashicorp/vagrant/tree/main/keys
const InsecureKeys = `ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== vagrant insecure public key
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y vagrant insecure public key
`

// Difference is one path that a box has and the image has not, or has
// otherwise.
type Difference struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Overlay returns base with the user added. Epoch is the time of what is
// written.
func Overlay(ctx context.Context, base image.Tree, epoch time.Time) (image.Tree, []Difference, error) {
	o := &overlay{files: map[string]file{}}
	if err := o.read(ctx, base); err != nil {
		return nil, nil, fmt.Errorf("vagrant overlay: %w", err)
	}
	if err := o.user(); err != nil {
		return nil, nil, fmt.Errorf("vagrant overlay: %w", err)
	}
	o.home()
	o.put("etc/sudoers.d/vagrant", 0o440, 0, 0, User+" ALL=(ALL:ALL) NOPASSWD: ALL\n", "Vagrant sets the box up as root")
	o.sshd()
	slices.SortFunc(o.differences, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return tree.Overlay(base, append(o.changes, tree.ClampTimes(epoch))...), o.differences, nil
}

// maxFileBytes is the largest file that the overlay reads.
const maxFileBytes = 1 << 20

type file struct {
	image.Entry
	content string
}

type overlay struct {
	files       map[string]file // the few that matter, with their content
	sudo, bash  bool
	uid, gid    int
	homeDir     string
	changes     []tree.Change
	differences []Difference
}

// read keeps the content of the files that the overlay looks at.
func (o *overlay) read(ctx context.Context, base image.Tree) error {
	return base.Walk(ctx, func(e *image.Entry, content io.Reader) error {
		switch e.Path {
		case "usr/bin/sudo", "bin/sudo":
			o.sudo = true
		case "usr/bin/bash", "bin/bash":
			o.bash = true
		}
		f := file{Entry: *e}
		wanted := strings.HasPrefix(e.Path, "etc/skel/") || path.Dir(e.Path) == "etc/ssh/sshd_config.d" ||
			slices.Contains([]string{"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid", "etc/ssh/sshd_config"}, e.Path) ||
			strings.HasSuffix(e.Path, "/.ssh/authorized_keys")
		if wanted && e.Type == image.File && e.SizeBytes <= maxFileBytes {
			data, err := io.ReadAll(content)
			if err != nil {
				return fmt.Errorf("read %s: %w", e.Path, err)
			}
			f.content = string(data)
			o.files[e.Path] = f
		} else if e.Type == image.Directory && (strings.HasPrefix(e.Path, "etc/skel/") || path.Dir(e.Path) == "home" || strings.HasPrefix(e.Path, "home/"+User)) {
			o.files[e.Path] = f
		}
		return nil
	})
}

func (o *overlay) user() error {
	if !o.sudo {
		return fault.Errorf(fault.Input, "the image has no sudo, which Vagrant needs; add sudo to the source's packages")
	}
	if _, ok := o.files["etc/passwd"]; !ok {
		return fault.Errorf(fault.Input, "the image has no /etc/passwd")
	}
	accounts, err := guest.ReadAccounts(strings.NewReader(o.files["etc/passwd"].content))
	if err != nil {
		return err
	}
	for _, each := range accounts {
		if each.Name == User { // the template made it: keep it
			o.uid, o.gid, o.homeDir = each.UID, each.GID, strings.Trim(each.Home, "/")
			return nil
		}
	}
	groups, err := guest.ReadGroups(strings.NewReader(o.files["etc/group"].content))
	if err != nil {
		return err
	}
	taken := map[int]bool{}
	for _, each := range accounts {
		taken[each.UID], taken[each.GID] = true, true
	}
	for _, each := range groups {
		taken[each.GID] = true
	}
	for o.uid = firstID; taken[o.uid]; o.uid++ {
	}
	o.gid, o.homeDir = o.uid, "home/"+User
	for _, each := range groups {
		if each.Name == User {
			o.gid = each.GID
		}
	}
	shell := "/bin/sh"
	if o.bash {
		shell = "/bin/bash"
	}
	o.line("etc/passwd", fmt.Sprintf("%s:x:%d:%d::/%s:%s", User, o.uid, o.gid, o.homeDir, shell))
	// "*" and not "!": sshd takes "!" for a locked account where PAM is off.
	o.line("etc/shadow", User+":*::0:99999:7:::")
	o.line("etc/group", fmt.Sprintf("%s:x:%d:", User, o.gid))
	o.line("etc/gshadow", User+":!::")
	for _, name := range []string{"etc/subuid", "etc/subgid"} {
		o.line(name, fmt.Sprintf("%s:%d:65536", User, nextRange(o.files[name].content)))
	}
	return nil
}

// line adds an account to a file that exists, unless it is there.
func (o *overlay) line(name, text string) {
	f, ok := o.files[name]
	if !ok || strings.HasPrefix(f.content, User+":") || strings.Contains(f.content, "\n"+User+":") {
		return
	}
	if f.content != "" && !strings.HasSuffix(f.content, "\n") {
		f.content += "\n"
	}
	f.content += text + "\n"
	entry := f.Entry
	entry.ModTime = time.Time{}
	o.changes = append(o.changes, tree.Put(entry, []byte(f.content)))
	o.differ(name, "the user vagrant")
}

// nextRange is the first subordinate id after those in use (subuid(5)); the
// ranges begin at 100000 (login.defs, SUB_UID_MIN).
func nextRange(content string) int {
	next := 100000
	for line := range strings.Lines(content) {
		var start, count int
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 3 {
			if n, err := fmt.Sscanf(f[1]+" "+f[2], "%d %d", &start, &count); n == 2 && err == nil && start > 0 && count > 0 && start+count > next {
				next = start + count
			}
		}
	}
	return next
}

func (o *overlay) home() {
	const why = "the user vagrant"
	if _, ok := o.files[o.homeDir]; !ok {
		o.dir(o.homeDir, 0o755, why)
		for _, name := range o.sorted("etc/skel/") {
			f := o.files[name]
			target := path.Join(o.homeDir, strings.TrimPrefix(name, "etc/skel/"))
			if f.Type == image.Directory {
				o.dir(target, f.Mode, why)
			} else {
				o.put(target, f.Mode, o.uid, o.gid, f.content, why)
			}
		}
	}
	if _, ok := o.files[o.homeDir+"/.ssh"]; !ok {
		o.dir(o.homeDir+"/.ssh", 0o700, "Vagrant logs in by key")
	}
	keys := o.files[o.homeDir+"/.ssh/authorized_keys"].content
	if keys != "" && !strings.HasSuffix(keys, "\n") {
		keys += "\n"
	}
	for key := range strings.Lines(InsecureKeys) {
		if !strings.Contains(keys, strings.Fields(key)[1]) {
			keys += key
		}
	}
	o.put(o.homeDir+"/.ssh/authorized_keys", 0o600, o.uid, o.gid, keys, "Vagrant's insecure keys, which it replaces at the first start")
}

// sshd lets the user in where the image names who may come in. Both lists add
// up over several lines (sshd_config(5)), so a line more takes nobody out.
func (o *overlay) sshd() {
	const main, dropIn = "etc/ssh/sshd_config", "etc/ssh/sshd_config.d/00-vagrant.conf"
	var lines strings.Builder
	included := false
	found, listed := map[string]bool{}, map[string]bool{}
	for _, name := range o.sorted("etc/ssh/sshd_config") {
		for line := range strings.Lines(o.files[name].content) {
			words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n=", r) })
			if len(words) < 2 {
				continue
			}
			keyword := strings.ToLower(words[0])
			if keyword == "match" {
				break // the rest is for some connections only
			}
			found[keyword] = true
			listed[keyword] = listed[keyword] || slices.Contains(words[1:], User)
			included = included || name == main && keyword == "include" && slices.Contains(words[1:], "/etc/ssh/sshd_config.d/*.conf")
		}
	}
	if found["allowusers"] && !listed["allowusers"] {
		lines.WriteString("AllowUsers " + User + "\n")
	}
	if found["allowgroups"] && !listed["allowgroups"] {
		lines.WriteString("AllowGroups " + User + "\n")
	}
	const why = "the image names who may log in, and vagrant has to"
	switch {
	case lines.Len() == 0:
	case included:
		o.put(dropIn, 0o644, 0, 0, lines.String(), why)
	default:
		entry := o.files[main].Entry
		entry.ModTime = time.Time{}
		o.changes = append(o.changes, tree.Put(entry, []byte(lines.String()+o.files[main].content)))
		o.differ(main, why)
	}
}

func (o *overlay) sorted(prefix string) []string {
	var names []string
	for name := range o.files {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (o *overlay) dir(name string, mode uint32, why string) {
	o.changes = append(o.changes, tree.Put(image.Entry{Path: name, Type: image.Directory, Mode: mode, UID: o.uid, GID: o.gid}, nil))
	o.differ(name, why)
}

func (o *overlay) put(name string, mode uint32, uid, gid int, content, why string) {
	o.changes = append(o.changes, tree.Put(image.Entry{Path: name, Type: image.File, Mode: mode, UID: uid, GID: gid}, []byte(content)))
	o.differ(name, why)
}

func (o *overlay) differ(name, why string) {
	o.differences = append(o.differences, Difference{Path: name, Why: why})
}
