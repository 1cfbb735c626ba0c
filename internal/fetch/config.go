package fetch

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/org/imagebuild-action/internal/template"
)

// Config is what a template says of a file; sources embed it.
type Config struct {
	URL       string `yaml:"url" doc:"Where the file is: an https, http or file URL. A download needs checksum or checksums."`
	Path      string `yaml:"path" doc:"The file on this machine, instead of url; relative to the template."`
	Checksum  string `yaml:"checksum" doc:"The file's digest: sha256: or sha512: and its hexadecimal digits."`
	Checksums string `yaml:"checksums" doc:"A list of digests as sha256sum prints it, instead of checksum: URL or path. It must be signed; its line with the file's name counts."`
	Signature string `yaml:"signature" doc:"The detached OpenPGP signature of checksums: URL or path. Without it the list must be signed inline."`
	Keyring   string `yaml:"keyring" doc:"The file with the OpenPGP public keys that may have signed checksums, armored or not."`
}

var checksumPattern = regexp.MustCompile(`^(?i:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)

// ValidateFile finds what cannot work, for the Validate of an embedder.
func (c *Config) ValidateFile(faults template.Faults) {
	switch {
	case c.URL == "" && c.Path == "":
		faults.Add("", "it says neither url nor path; give one of them")
	case c.URL != "" && c.Path != "":
		faults.Add("path", "url and path exclude each other; keep one")
	case c.URL != "" && !isURL(c.URL, true):
		faults.Add("url", "%q is not the URL of a file; write https://, http:// or file:// and a path, or use path", Shown(c.URL))
	}
	remote := c.URL != "" && !strings.HasPrefix(c.URL, "file:")
	switch {
	case c.Checksum != "" && c.Checksums != "":
		faults.Add("checksums", "checksum and checksums exclude each other; keep one")
	case c.Checksum == "" && c.Checksums == "" && remote:
		faults.Add("url", "a download needs a digest; add checksum: sha256:..., or checksums with a keyring")
	case c.Checksum != "" && !checksumPattern.MatchString(c.Checksum):
		faults.Add("checksum", "%q is not a digest; write sha256: and 64 hexadecimal digits, or sha512: and 128", c.Checksum)
	}
	switch {
	case c.Checksums != "" && c.Keyring == "":
		faults.Add("checksums", "a list of digests is worth no more than its signature; add the keyring to check it with")
	case c.Checksums == "" && c.Keyring != "":
		faults.Add("keyring", "there is no list of checksums that a key could have signed; add checksums or drop it")
	case c.Checksums == "" && c.Signature != "":
		faults.Add("signature", "there is no list of checksums that it could belong to; add checksums or drop it")
	}
	for field, location := range map[string]string{"checksums": c.Checksums, "signature": c.Signature} {
		if strings.Contains(location, "://") && !isURL(location, true) {
			faults.Add(field, "%q is not the URL of a file; write https://, http:// or file:// and a path, or a path alone", Shown(location))
		}
	}
}

// FileRefs lists the files of this machine, for the Files of an embedder: what
// is in them decides the build.
func (c *Config) FileRefs() []template.FileRef {
	var files []template.FileRef
	for _, each := range []template.FileRef{{Field: "path", Path: c.Path}, {Field: "checksums", Path: c.Checksums}, {Field: "signature", Path: c.Signature}, {Field: "keyring", Path: c.Keyring}} {
		if each.Path != "" && !strings.Contains(each.Path, "://") {
			files = append(files, each)
		}
	}
	return files
}

// Request is the configuration as a request.
func (c *Config) Request(baseDir, cacheDir string) Request {
	location := c.URL
	if location == "" {
		location = c.Path
	}
	return Request{
		Location: location, Checksum: c.Checksum, ChecksumsURL: c.Checksums, Signature: c.Signature, Keyring: c.Keyring,
		BaseDir: baseDir, CacheDir: cacheDir,
	}
}

func isURL(text string, files bool) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "http", "https":
		return u.Host != "" && strings.Trim(u.Path, "/") != ""
	case "file":
		return files && (u.Host == "" || u.Host == "localhost") && strings.HasPrefix(u.Path, "/")
	}
	return false
}
