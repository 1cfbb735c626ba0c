package bootstrap

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// workDir makes the folder that the hooks read and write: themselves, the
// template's repositories, and apt's settings for the network.
func (b *Bootstrap) workDir(ctx context.Context, parent string) (dir string, remove func() error, err error) {
	dir, remove, err = run.TempDir(parent, "bootstrap-")
	if err != nil {
		return "", nil, err
	}
	if err := b.fillWorkDir(ctx, dir); err != nil {
		_ = remove()
		return "", nil, err
	}
	return dir, remove, nil
}

func (b *Bootstrap) fillWorkDir(ctx context.Context, dir string) error {
	files := map[string]string{"packages": strings.Join(b.packages(), "\n")}
	scripts, err := fs.Glob(hooks, "*.sh")
	if err != nil {
		return err
	}
	for _, name := range scripts {
		text, err := hooks.ReadFile(name)
		if err != nil {
			return err
		}
		files[name] = string(text)
	}
	for i := range b.config.Repositories {
		text, err := b.repository(i)
		if err != nil {
			return err
		}
		files[fmt.Sprintf("sources/imagebuild-%d.sources", i+1)] = text
	}
	if files["apt.conf"], err = b.network(ctx); err != nil {
		return err
	}
	for _, sub := range []string{"debs", "sources", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return run.Explain(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return run.Explain(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			return run.Explain(err)
		}
	}
	return nil
}

// network is what apt must know of this machine to reach the archives: its
// proxies and time limits. Everything else of apt's configuration stays out.
func (b *Bootstrap) network(ctx context.Context) (string, error) {
	dump, err := run.Output(ctx, run.Spec{Argv: []string{"apt-config", "dump"}})
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Acquire::Retries \"3\";\nAPT::Install-Recommends \"%t\";\n", b.config.Recommends)
	for line := range strings.Lines(dump) {
		name, _, _ := strings.Cut(line, " ")
		scheme, option, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(name), "acquire::"), "::")
		if !strings.HasPrefix(strings.ToLower(name), "acquire::") {
			continue
		}
		switch scheme {
		case "http", "https", "ftp":
			if strings.HasPrefix(option, "proxy") || option == "timeout" {
				text.WriteString(line)
			}
		}
	}
	return text.String(), nil
}

// repository renders the i-th repository in apt's deb822 form with its key
// inside (sources.list(5), Signed-By), so that no path of this machine is
// needed, neither now nor in the image.
func (b *Bootstrap) repository(i int) (string, error) {
	r := b.config.Repositories[i]
	path := r.Key
	if !filepath.IsAbs(path) {
		path = filepath.Join(b.request.TemplateDir, path)
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return "", fault.Errorf(fault.Input, "repository %s: key: %w", r.URL, err)
	}
	armored, err := armor(key)
	if err != nil {
		return "", fault.Errorf(fault.Input, "repository %s: key %s: %w", r.URL, r.Key, err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Types: deb\nURIs: %s\nSuites: %s\n", r.URL, strings.Join(r.Suites, " "))
	if len(r.Components) > 0 {
		fmt.Fprintf(&text, "Components: %s\n", strings.Join(r.Components, " "))
	}
	text.WriteString("Signed-By:\n")
	for line := range strings.Lines(armored) {
		if line = strings.TrimSpace(line); line == "" {
			line = "." // an empty line would end the stanza
		}
		fmt.Fprintf(&text, " %s\n", line)
	}
	return text.String(), nil
}

const (
	armorHead = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	armorTail = "-----END PGP PUBLIC KEY BLOCK-----"
)

// armor returns an OpenPGP key in its ASCII form (RFC 9580, section 6).
func armor(key []byte) (string, error) {
	if bytes.HasPrefix(bytes.TrimSpace(key), []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
		text := strings.TrimSpace(strings.ReplaceAll(string(key), "\r\n", "\n"))
		if !strings.HasSuffix(text, armorTail) {
			return "", fmt.Errorf("the armored key is cut short")
		}
		return text + "\n", nil
	}
	// Every binary key starts with a packet header: the top bit, tag 6.
	if len(key) < 16 || key[0]&0x80 == 0 || key[0]&0x40 == 0 && key[0]>>2&0x0f != 6 || key[0]&0x40 != 0 && key[0]&0x3f != 6 {
		return "", fmt.Errorf("it is not an OpenPGP public key; export one with gpg --export --armor")
	}
	encoded := base64.StdEncoding.EncodeToString(key)
	var text strings.Builder
	text.WriteString(armorHead + "\n\n")
	for len(encoded) > 64 {
		text.WriteString(encoded[:64] + "\n")
		encoded = encoded[64:]
	}
	sum := crc24(key)
	fmt.Fprintf(&text, "%s\n=%s\n%s\n", encoded, base64.StdEncoding.EncodeToString([]byte{byte(sum >> 16), byte(sum >> 8), byte(sum)}), armorTail)
	return text.String(), nil
}

// crc24 is the checksum of RFC 9580, section 6.1.1, which older gpgv wants.
func crc24(data []byte) uint32 {
	sum := uint32(0xb704ce)
	for _, each := range data {
		sum ^= uint32(each) << 16
		for range 8 {
			if sum <<= 1; sum&0x1000000 != 0 {
				sum ^= 0x1864cfb
			}
		}
	}
	return sum & 0xffffff
}

func (b *Bootstrap) packages() []string {
	return append(append([]string{}, b.config.Packages...), b.request.Packages...)
}

// environ is what mmdebstrap and the hooks get.
func (b *Bootstrap) environ(work string, extra ...string) []string {
	env := []string{
		"IMAGEBUILD_WORK=" + work,
		"TMPDIR=" + filepath.Join(work, "tmp"), // so that what a killed mmdebstrap leaves goes with the folder
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.request.Epoch.Unix(), 10),
	}
	return run.Environ(append(env, extra...)...)
}

// command starts mmdebstrap's command line.
func (b *Bootstrap) command() []string {
	return []string{
		"sh", "-c", `umask 022; exec "$@"`, "sh",
		"mmdebstrap", "--mode=root", "--format=directory", "--architectures=" + b.request.Arch, "--components=" + strings.Join(b.config.Components, ","),
	}
}

// place ends it.
func (b *Bootstrap) place(root string) []string {
	place := []string{b.config.Release, root}
	if b.config.Mirror != "" {
		place = append(place, b.config.Mirror)
	}
	return place
}
