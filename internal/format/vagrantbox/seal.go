package vagrantbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/org/imagebuild-action/internal/fault"
)

// SealName is the last member of a box of ours.
const SealName = "imagebuild.json"

// sealSchema is the version of the seal's form.
const sealSchema = 1

// Seal is imagebuild.json: what the box is, and a digest of everything in it,
// so that damage is found. Vagrant ignores it.
type Seal struct {
	Schema     int    `json:"schema"`
	Name       string `json:"name"`
	Version    string `json:"version"`
	Arch       string `json:"arch"`
	PlanSHA256 string `json:"plan_sha256"` // lower-case hex
	// Epoch is the time of every member, in seconds since 1970.
	Epoch int64 `json:"epoch"`
	// Members are all others, in their order in the archive.
	Members []SealedMember `json:"members"`
	// SHA256 is the digest of this document with an empty SHA256.
	SHA256 string `json:"sha256"`
}

// SealedMember is one member of a box of ours.
type SealedMember struct {
	Name      string `json:"name"`
	SizeBytes int64  `json:"size_bytes"`
	SHA256    string `json:"sha256"` // lower-case hex
}

// json fills in the digest and renders the document.
func (s Seal) json() ([]byte, error) {
	s.SHA256 = ""
	blank, err := encode(s)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(blank)
	s.SHA256 = hex.EncodeToString(digest[:])
	return encode(s)
}

// parseSeal reads the document. Only the very bytes that json renders are
// right: another byte anywhere, white space included, is damage.
func parseSeal(content []byte) (*Seal, error) {
	var s Seal
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, damaged("%s: %w", SealName, err)
	}
	if s.Schema > sealSchema {
		return nil, fault.Errorf(fault.Input, "%s has schema %d; a newer imagebuild made this box", SealName, s.Schema)
	}
	again, err := s.json()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(content, again) {
		return nil, damaged("%s does not match its own digest", SealName)
	}
	return &s, nil
}

func damaged(format string, args ...any) error {
	return fault.Errorf(fault.Input, "damaged box: "+format+"; build it or download it again", args...)
}
