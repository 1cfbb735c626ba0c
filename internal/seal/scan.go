package seal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
)

// maxScanBytes is how much of one file is searched for secrets. Keys and
// credentials lie in small files.
const maxScanBytes = 1 << 20

// secret is one kind of content that must not be published by accident.
type secret struct {
	what    string
	marker  []byte         // what every match contains: a cheap test first
	pattern *regexp.Regexp // nil means that the marker is enough
}

func secrets() []secret {
	return []secret{
		// RFC 7468 and the openssh-key-v1 format share the armour. A header
		// alone, as in a document, is no key: base64 must follow.
		{"a private key", []byte("PRIVATE KEY-----"), regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\s+(?:[A-Za-z-]+: .*\s+)*[A-Za-z0-9+/=]{16,}`)},
		{"a PuTTY private key", []byte("PuTTY-User-Key-File-"), nil},
		{"an AWS access key", nil, regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z2-7]{16}\b`)},
		{"a GitHub token", nil, regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})`)},
		{"a Google service account's key", []byte(`"private_key_id"`), nil},
	}
}

// packaged is where packages put files of their own, and only they: examples
// and test data with keys that everybody knows.
var packaged = []string{"usr/", "lib/", "boot/", "var/lib/dpkg/", "var/cache/"}

// Finding is a secret in the tree.
type Finding struct{ Path, What string }

// Findings is every secret that the scan found. Its kind is Input.
type Findings []Finding

// Error lists the findings with the remedy.
func (f Findings) Error() string {
	lines := make([]string, 0, len(f)+1)
	lines = append(lines, errSecrets.Error()+":")
	for _, each := range f {
		lines = append(lines, fmt.Sprintf("    /%s: %s", each.Path, each.What))
	}
	return strings.Join(append(lines, "remove them in a last step, or allow their paths if they are meant to be public"), "\n")
}

// Is makes errors.Is find the package's sentinel.
func (f Findings) Is(target error) bool { return target == errSecrets }

func scan(ctx context.Context, t image.Tree, allow []string) error {
	var found Findings
	kinds := secrets()
	buf := make([]byte, maxScanBytes)
	err := t.Walk(ctx, func(e *image.Entry, content io.Reader) error {
		if e.Type != image.File || e.SizeBytes == 0 || slices.ContainsFunc(allow, func(p string) bool { return match(p, e.Path) }) {
			return nil
		}
		if what := named(e.Path); what != "" {
			found = append(found, Finding{e.Path, what})
			return nil
		}
		if fromPackage(e.Path) {
			return nil
		}
		n, err := io.ReadFull(content, buf[:min(e.SizeBytes, maxScanBytes)])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("read %s: %w", e.Path, err)
		}
		if e.Path == "etc/shadow" || e.Path == "etc/gshadow" {
			for _, name := range hashed(buf[:n]) {
				found = append(found, Finding{e.Path, "a password of " + name + " (lock it, or allow this path)"})
			}
			return nil
		}
		for _, k := range kinds {
			if k.marker != nil && !bytes.Contains(buf[:n], k.marker) {
				continue
			}
			if k.pattern == nil || k.pattern.Match(buf[:n]) {
				found = append(found, Finding{e.Path, k.what})
				break
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fault.Wrap(fault.Input, found)
	}
	return nil
}

// named is what a file's name gives away, wherever it lies in a home.
func named(name string) string {
	if !strings.HasPrefix(name, "root/") && !strings.HasPrefix(name, "home/") {
		return ""
	}
	switch base, dir := path.Base(name), path.Base(path.Dir(name)); {
	case base == ".netrc", base == ".git-credentials", base == ".pgpass", base == ".npmrc" && dir == "root":
		return "credentials (" + base + ")"
	case dir == ".aws" && base == "credentials":
		return "AWS credentials"
	case dir == ".docker" && base == "config.json":
		return "container registry credentials"
	}
	return ""
}

func fromPackage(name string) bool {
	if strings.HasPrefix(name, "usr/local/") {
		return false
	}
	return slices.ContainsFunc(packaged, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// hashed lists the accounts of shadow(5) whose password field holds a hash. One
// that "!" locks can still be attacked; an empty field is no secret.
func hashed(shadow []byte) []string {
	var names []string
	lines := bufio.NewScanner(bytes.NewReader(shadow))
	lines.Buffer(nil, maxScanBytes)
	for lines.Scan() {
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) == 3 && strings.TrimLeft(f[1], "!*") != "" {
			names = append(names, f[0])
		}
	}
	return names
}
