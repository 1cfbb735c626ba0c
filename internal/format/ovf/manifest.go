package ovf

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // OVF 1.0 manifests have nothing else
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"regexp"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

// Digest is one line of a manifest.
type Digest struct {
	Name      string // of the file
	Algorithm string // SHA1, SHA256 or SHA512
	Hex       string // lower case
}

// New returns the digest's hash function.
func (d Digest) New() hash.Hash {
	switch d.Algorithm {
	case "SHA1":
		return sha1.New() //nolint:gosec // see above
	case "SHA512":
		return sha512.New()
	}
	return sha256.New()
}

// Manifest renders a manifest with SHA-256 digests. ESXi and vCenter take no
// other spelling than this one.
func Manifest(digests ...Digest) []byte {
	var out bytes.Buffer
	for _, d := range digests {
		fmt.Fprintf(&out, "SHA256(%s)= %s\n", d.Name, d.Hex)
	}
	return out.Bytes()
}

var manifestLine = regexp.MustCompile(`^(SHA1|SHA256|SHA512) ?\(([^()\x00-\x1f]+)\) ?= *([0-9a-f]+|[0-9A-F]+)$`)

// ParseManifest reads anyone's manifest. It is strict enough that one changed
// byte never leaves the meaning the same: hex digits are in one case, and
// nothing may follow them.
func ParseManifest(content []byte) ([]Digest, error) {
	var digests []Digest
	seen := map[string]bool{}
	if bytes.HasSuffix(content, []byte("\r")) {
		return nil, fault.Errorf(fault.Input, "manifest: the last line does not end")
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" {
			continue
		}
		m := manifestLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fault.Errorf(fault.Input, "manifest: line %d is not ALGORITHM(name)= hex", n)
		}
		d := Digest{Name: m[2], Algorithm: m[1], Hex: strings.ToLower(m[3])}
		if hex.DecodedLen(len(d.Hex)) != d.New().Size() || len(d.Hex)%2 != 0 {
			return nil, fault.Errorf(fault.Input, "manifest: line %d: %s has another length", n, d.Algorithm)
		}
		if seen[d.Name] {
			return nil, fault.Errorf(fault.Input, "manifest: %s comes twice", d.Name)
		}
		seen[d.Name] = true
		digests = append(digests, d)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Errorf(fault.Input, "manifest: %w", err)
	}
	return digests, nil
}
