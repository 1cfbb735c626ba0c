package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/target"
)

// digest hashes a purpose and a value. The encoding is JSON with sorted keys
// and no white space; the purpose keeps equal values of different meaning
// apart.
func digest(purpose string, value map[string]any) (string, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return "", fault.Errorf(fault.Bug, "digest of the %s: %w", purpose, err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "imagebuild plan %d %s\n", Format, purpose)
	h.Write(encoded)
	return hex.EncodeToString(h.Sum(nil)), nil
}

func identity(id string) target.Identity {
	var out target.Identity
	if n, err := hex.Decode(out[:], []byte(id)); err != nil || n != len(out) {
		return sha256.Sum256([]byte(id)) // not one of ours: still a function of the id alone
	}
	return out
}

// A kind of step or source that decides bytes by its inputs lists them here.
func inputsOf(inputs []Input) []any {
	list := make([]any, len(inputs))
	for i, in := range inputs {
		list[i] = []any{in.Path, in.Type, in.Mode, in.SHA256}
	}
	return list
}
