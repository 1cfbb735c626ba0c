package seal

import (
	"fmt"
	"path"
	"strings"
)

// Script takes out of a running machine what Tree takes out of a tree, so far
// as a machine can do without it: it is the last thing to run before its disk
// becomes an image. It is for sh, and its first argument is the encoded public
// key by which the build got in, whose lines go.
//
// Its rules are Tree's own. What it cannot do is to scan for secrets, and to
// keep the machine's own end from writing: a line in a log, the DHCP client's
// identifier.
func Script() string {
	var b strings.Builder
	b.WriteString(scriptHead)
	for _, r := range removed {
		if r.treeOnly {
			continue
		}
		fmt.Fprintf(&b, "\n# %s\n", r.why)
		for _, text := range r.patterns {
			b.WriteString(removal(text) + "\n")
		}
	}
	b.WriteString(scriptTail)
	return b.String()
}

// scriptHead quiets what would write again what is taken away. An image of ours
// may still be at work on its slowest host key.
const scriptHead = `set -u
key=$1
cd /
for unit in systemd-random-seed.service imagebuild-ssh-rsa-key.timer imagebuild-ssh-rsa-key.service syslog.socket rsyslog.service syslog-ng.service; do
  systemctl stop "$unit" 2>/dev/null
done
journalctl --relinquish-var 2>/dev/null
`

// scriptTail empties what has to be there, and takes the build's key.
const scriptTail = `
# every clone makes its own id at boot
[ ! -e /etc/machine-id ] || : > /etc/machine-id
# logs of the build
find /var/log -xdev -type f -exec sh -c 'for f; do : > "$f"; done' sh {} +
# the key that the build used
for file in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do
  [ -f "$file" ] && grep -qF -- "$key" "$file" || continue
  rest=$(grep -vF -- "$key" "$file")
  if [ -n "$rest" ]; then printf '%s\n' "$rest" > "$file"; else rm -f -- "$file"; fi
done
sync
exit 0
`

// removal is the command that removes what a pattern matches.
func removal(text string) string {
	before, after, deep := strings.Cut(text, "**")
	before = "/" + strings.TrimSuffix(before, "/")
	switch {
	case !deep:
		return "rm -rf -- /" + text
	case after == "": // everything below a folder
		return fmt.Sprintf("[ ! -d %s ] || find %s -xdev -mindepth 1 -delete 2>/dev/null", before, before)
	}
	// Of these, one segment follows at any depth.
	return fmt.Sprintf("[ ! -d %s ] || find %s -xdev -mindepth 2 -name '%s' -prune -exec rm -rf -- {} +", before, before, path.Base(after))
}
