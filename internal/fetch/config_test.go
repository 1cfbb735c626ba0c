package fetch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

type faults []string

func (f *faults) Add(field, format string, args ...any) {
	*f = append(*f, field+": "+fmt.Sprintf(format, args...))
}

func TestConfig(t *testing.T) {
	sum := "sha256:" + strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		config Config
		want   string // the beginning of each fault, by field
	}{
		"a download":             {Config{URL: "https://host/disk", Checksum: sum}, ""},
		"a list":                 {Config{URL: "https://host/disk", Checksums: "https://host/SUMS", Keyring: "key.asc"}, ""},
		"a path":                 {Config{Path: "disk"}, ""},
		"a file URL":             {Config{URL: "file:///disk"}, ""},
		"nothing":                {Config{}, ": it says neither"},
		"both":                   {Config{URL: "https://host/disk", Path: "disk", Checksum: sum}, "path: url and path"},
		"no digest":              {Config{URL: "https://host/disk"}, "url: a download needs"},
		"no URL":                 {Config{URL: "disk", Checksum: sum}, `url: "disk" is not the URL`},
		"no path in it":          {Config{URL: "https://host/", Checksum: sum}, `url: "https://host/"`},
		"a file elsewhere":       {Config{URL: "file://host/disk", Checksum: sum}, `url: "file://host/disk"`},
		"a weak digest":          {Config{URL: "https://host/disk", Checksum: "md5:00"}, `checksum: "md5:00"`},
		"a short digest":         {Config{Path: "disk", Checksum: "sha256:00"}, `checksum: "sha256:00"`},
		"two kinds of digest":    {Config{Path: "disk", Checksum: sum, Checksums: "SUMS", Keyring: "key"}, "checksums: checksum and"},
		"a list without a key":   {Config{Path: "disk", Checksums: "SUMS"}, "checksums: a list"},
		"a key without a list":   {Config{Path: "disk", Keyring: "key"}, "keyring: there is no list"},
		"a signature of nothing": {Config{Path: "disk", Signature: "sig"}, "signature: there is no list"},
		"a list over FTP":        {Config{Path: "disk", Checksums: "ftp://host/SUMS", Keyring: "key"}, `checksums: "ftp://host/SUMS"`},
	} {
		var found faults
		c.config.ValidateFile(&found)
		if got := strings.Join(found, "\n"); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") || len(found) > 1 {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestConfigFiles(t *testing.T) {
	c := Config{Path: "disk", Checksums: "https://host/SUMS", Signature: "SUMS.sig", Keyring: "key"}
	var got []string
	for _, ref := range c.FileRefs() {
		got = append(got, ref.Field+"="+ref.Path)
	}
	if want := []string{"path=disk", "signature=SUMS.sig", "keyring=key"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if r := c.Request("/base", "/cache"); r.Location != "disk" || r.ChecksumsURL != c.Checksums || r.BaseDir != "/base" {
		t.Errorf("%+v", r)
	}
}
