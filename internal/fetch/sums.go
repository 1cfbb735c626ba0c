package fetch

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// maxListBytes bounds lists, signatures and keyrings.
const maxListBytes = 4 << 20

// listed finds the file's digest in the signed list.
func (r Request) listed(ctx context.Context) (digest, error) {
	if r.Keyring == "" {
		return digest{}, fault.Errorf(fault.Input, "a list of digests is worth no more than its signature; give the keyring to check it with")
	}
	list, err := r.small(ctx, r.ChecksumsURL)
	if err != nil {
		return digest{}, fmt.Errorf("the list of digests: %w", err)
	}
	var signature []byte
	if r.Signature != "" {
		if signature, err = r.small(ctx, r.Signature); err != nil {
			return digest{}, fmt.Errorf("the signature of the list of digests: %w", err)
		}
	}
	keyring, err := r.small(ctx, r.Keyring)
	if err != nil {
		return digest{}, fmt.Errorf("the keyring: %w", err)
	}
	if list, err = verify(ctx, list, signature, keyring); err != nil {
		return digest{}, fmt.Errorf("the list of digests %s: %w", Shown(r.ChecksumsURL), err)
	}
	d, err := find(list, r.name())
	if err != nil {
		return digest{}, fmt.Errorf("the list of digests %s: %w", Shown(r.ChecksumsURL), err)
	}
	return d, nil
}

// small reads a URL or a local file of at most maxListBytes.
func (r Request) small(ctx context.Context, location string) ([]byte, error) {
	local, ok := r.local(location)
	if !ok {
		return r.text(ctx, location, maxListBytes)
	}
	f, err := os.Open(local)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxListBytes+1))
	if err == nil && len(text) > maxListBytes {
		err = tooLarge(maxListBytes)
	}
	return text, fault.Wrap(fault.Input, err)
}

// verify checks a signed text with gpgv and returns what the signature covers.
// Without a detached signature it must be signed inline. One good signature by
// a key of the keyring is enough, because lists carry those of several keys;
// a bad one spoils it.
func verify(ctx context.Context, text, signature, keyring []byte) (_ []byte, err error) {
	if keyring, err = dearmor(keyring); err != nil {
		return nil, err
	}
	dir, remove, err := run.TempDir(os.TempDir(), "imagebuild-gpgv-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	in := func(name string) string { return filepath.Join(dir, name) }
	files := map[string][]byte{"keyring.gpg": keyring, "text": text}
	argv := []string{"gpgv", "--homedir", dir, "--weak-digest", "SHA1", "--status-fd", "1", "--keyring", in("keyring.gpg")}
	if signature != nil {
		files["signature"] = signature
		argv = append(argv, in("signature"), in("text"))
	} else {
		argv = append(argv, "--output", in("signed"), in("text"))
	}
	for name, content := range files {
		if err := os.WriteFile(in(name), content, 0o600); err != nil {
			return nil, run.Explain(err)
		}
	}
	status, err := run.Output(ctx, run.Spec{Argv: argv})
	var exit *run.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, withRemedy(err)
	}
	if !hasStatus(status, "GOODSIG") || hasStatus(status, "BADSIG") {
		why := "it is not signed"
		if exit != nil {
			why = exit.Tail
		}
		return nil, fault.Errorf(fault.Input, "no good signature by a key of the keyring: %s", why)
	}
	if signature != nil {
		return text, nil
	}
	signed, err := os.ReadFile(in("signed"))
	return signed, run.Explain(err)
}

// CheckTools finds what checking a signed list needs.
func CheckTools() error {
	if _, err := run.LookPath("gpgv"); err != nil {
		return fault.Errorf(fault.Environment, "gpgv is not installed; install the package gpgv")
	}
	return nil
}

func withRemedy(err error) error {
	if missing := CheckTools(); missing != nil {
		return missing
	}
	return err
}

// hasStatus finds a keyword in the lines of GnuPG's status (doc/DETAILS).
func hasStatus(status, keyword string) bool {
	for line := range strings.Lines(status) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "[GNUPG:]" && fields[1] == keyword {
			return true
		}
	}
	return false
}

// dearmor returns the binary form of a keyring, the only one that gpgv reads
// (RFC 9580, section 6). The keys' own signatures make a checksum needless.
func dearmor(keyring []byte) ([]byte, error) {
	const begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
	if !bytes.Contains(keyring, []byte(begin)) {
		return keyring, nil
	}
	var all []byte
	for rest := string(keyring); ; {
		_, block, found := strings.Cut(rest, begin)
		if !found {
			return all, nil
		}
		if block, rest, found = strings.Cut(block, end); !found {
			return nil, fault.Errorf(fault.Input, "the keyring ends within a key")
		}
		// Headers end with an empty line; the checksum begins with "=".
		_, body, _ := strings.Cut(strings.ReplaceAll(block, "\r", ""), "\n\n")
		if i := strings.LastIndex(strings.TrimSpace(body), "\n="); i >= 0 {
			body = strings.TrimSpace(body)[:i]
		}
		key, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
		if err != nil {
			return nil, fault.Errorf(fault.Input, "the keyring: %w", err)
		}
		all = append(all, key...)
	}
}

var (
	sumLine = regexp.MustCompile(`^\\?([0-9a-fA-F]+) [ *](.+)$`)         // coreutils
	bsdLine = regexp.MustCompile(`^(SHA\d+) \((.+)\) = ([0-9a-fA-F]+)$`) // BSD, and coreutils with --tag
)

// find returns the digest of name in a list, the longest if there are several
// kinds. Two different ones of a kind are an error.
func find(list []byte, name string) (digest, error) {
	found := map[string]digest{}
	lines := bufio.NewScanner(bytes.NewReader(list))
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \r")
		var sum, file string
		if m := sumLine.FindStringSubmatch(line); m != nil {
			sum, file = m[1], m[2]
		} else if m := bsdLine.FindStringSubmatch(line); m != nil {
			sum, file = m[3], m[2]
		}
		if strings.TrimPrefix(file, "./") != name || name == "" {
			continue
		}
		algorithm := map[int]string{2 * sha256.Size: sha256Name, 2 * sha512.Size: sha512Name}[len(sum)]
		if algorithm == "" {
			continue // MD5 and SHA-1 prove nothing
		}
		d := digest{algorithm, strings.ToLower(sum)}
		if other, ok := found[algorithm]; ok && other != d {
			return digest{}, fault.Errorf(fault.Input, "it has two digests of %q, %s and %s", name, other, d)
		}
		found[algorithm] = d
	}
	if err := lines.Err(); err != nil {
		return digest{}, fault.Wrap(fault.Input, err)
	}
	for _, algorithm := range []string{sha512Name, sha256Name} {
		if d, ok := found[algorithm]; ok {
			return d, nil
		}
	}
	return digest{}, fault.Errorf(fault.Input, "it has no SHA-256 or SHA-512 digest of %q", name)
}
