package entry

import (
	"bytes"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/ssh"
)

// UserData tells cloud-init the host key that a cloud's machine has to identify
// itself with, so that nobody has to be trusted at first use. The key by which
// we get in is the cloud's own matter. It is readable inside of the machine,
// whose end is the key's. See cc_ssh of cloud-init, "ssh_keys".
func UserData(host ssh.HostKey) []byte {
	var text bytes.Buffer
	text.WriteString("#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n")
	for line := range strings.Lines(string(host.Private)) {
		text.WriteString("    " + line)
	}
	text.WriteString("  ed25519_public: " + strings.TrimSpace(string(gossh.MarshalAuthorizedKey(host.Public))) + " imagebuild\n")
	return text.Bytes()
}
