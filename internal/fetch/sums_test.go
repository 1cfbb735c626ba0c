package fetch

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/testkit"
)

// testdata: made once with GnuPG 2.2. The keyring has the key of signer, which
// signed the list; SHA256SUMS.two is signed by signer and by a stranger.

func TestSignedList(t *testing.T) {
	testkit.Tool(t, "gpgv")
	files := httptest.NewServer(http.FileServer(http.Dir("testdata")))
	t.Cleanup(files.Close)
	want := sumOf([]byte("the disk"))
	damaged := filepath.Join(t.TempDir(), "SHA256SUMS")
	list, err := os.ReadFile("testdata/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, bytes.Replace(list, []byte("0"), []byte("1"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ location, list, signature, keyring, want string }{
		"detached":              {"disk.raw", "SHA256SUMS", "SHA256SUMS.sig", "keyring.gpg", ""},
		"detached, armored":     {"disk.raw", "SHA256SUMS", "SHA256SUMS.sig.asc", "keyring.asc", ""},
		"inline":                {"disk.raw", "SHA256SUMS.inline", "", "keyring.asc", ""},
		"of two, one known":     {"disk.raw", "SHA256SUMS", "SHA256SUMS.two", "keyring.gpg", ""},
		"over HTTP":             {files.URL + "/x/disk.raw?a=b", files.URL + "/SHA256SUMS", files.URL + "/SHA256SUMS.sig", "keyring.gpg", ""},
		"inline, over HTTP":     {files.URL + "/disk.raw", files.URL + "/SHA256SUMS.inline", "", "keyring.gpg", ""},
		"by a stranger":         {"disk.raw", "SHA256SUMS", "SHA256SUMS.sig", "stranger.asc", "no good signature"},
		"inline, by a stranger": {"disk.raw", "SHA256SUMS.inline", "", "stranger.asc", "no good signature"},
		"changed":               {"disk.raw", damaged, "SHA256SUMS.sig", "keyring.gpg", "no good signature"},
		"not signed":            {"disk.raw", "SHA256SUMS", "", "keyring.gpg", "no good signature"},
		"the wrong signature":   {"disk.raw", "SHA256SUMS", "keyring.gpg", "keyring.gpg", "no good signature"},
		"not in the list":       {"disk.qcow2", "SHA256SUMS", "SHA256SUMS.sig", "keyring.gpg", `no SHA-256 or SHA-512 digest of "disk.qcow2"`},
		"no list":               {"disk.raw", files.URL + "/none", "SHA256SUMS.sig", "keyring.gpg", "404"},
		"no signature":          {"disk.raw", "SHA256SUMS", "none", "keyring.gpg", "no such file"},
		"no keyring":            {"disk.raw", "SHA256SUMS", "SHA256SUMS.sig", "none", "no such file"},
		"half a keyring":        {"disk.raw", "SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.inline", "no good signature"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Digest(t.Context(), Request{
				Location: c.location, ChecksumsURL: c.list, Signature: c.signature, Keyring: c.keyring, BaseDir: "testdata", CacheDir: t.TempDir(),
			})
			if c.want == "" {
				if err != nil || got != want {
					t.Errorf("%s, %v; want %s", got, err, want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
				t.Errorf("%v of kind %v", err, fault.KindOf(err))
			}
		})
	}
}

// TestInlineTextIsTheSignedOne hides a line before the signed text.
func TestInlineTextIsTheSignedOne(t *testing.T) {
	testkit.Tool(t, "gpgv")
	inline, err := os.ReadFile("testdata/SHA256SUMS.inline")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "list")
	forged := strings.TrimPrefix(sumOf(nil), "sha256:") + "  forged.raw\n"
	if err := os.WriteFile(file, append([]byte(forged), inline...), 0o600); err != nil {
		t.Fatal(err)
	}
	r := Request{Location: "forged.raw", ChecksumsURL: file, Keyring: "keyring.gpg", BaseDir: "testdata"}
	if got, err := Digest(t.Context(), r); err == nil {
		t.Errorf("a line that nobody signed counts: %s", got)
	}
}

func TestFind(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("B", 128)
	for name, c := range map[string]struct{ list, want string }{
		"text":             {a + "  disk\n", "sha256:" + a},
		"binary":           {a + " *disk\r\n", "sha256:" + a},
		"dot":              {a + "  ./disk\n", "sha256:" + a},
		"BSD":              {"SHA256 (disk) = " + a, "sha256:" + a},
		"the longer":       {a + "  disk\n" + b + "  disk\n", "sha512:" + strings.ToLower(b)},
		"twice the same":   {a + "  disk\n" + a + "  disk\n", "sha256:" + a},
		"contradicting":    {a + "  disk\n" + strings.Repeat("b", 64) + "  disk\n", ""},
		"another name":     {a + "  disk2\n", ""},
		"in another place": {a + "  old/disk\n", ""},
		"MD5":              {strings.Repeat("a", 32) + "  disk\n", ""},
		"empty":            {"", ""},
	} {
		got, err := find([]byte(c.list), "disk")
		if (err != nil) != (c.want == "") || err == nil && got.String() != c.want {
			t.Errorf("%s: %v, %v; want %q", name, got, err, c.want)
		}
	}
}

func FuzzList(f *testing.F) {
	for _, name := range []string{"SHA256SUMS", "SHA256SUMS.inline", "keyring.asc"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := find(text, "disk.raw"); err == nil {
			if _, err := parseDigest(d.String()); err != nil {
				t.Errorf("%s: %v", d, err)
			}
		} else if fault.KindOf(err) != fault.Input {
			t.Error(err)
		}
		if _, err := dearmor(text); err != nil && fault.KindOf(err) != fault.Input {
			t.Error(err)
		}
		if d, err := parseDigest(string(text)); err == nil {
			if again, err := parseDigest(d.String()); err != nil || again != d {
				t.Error(again, err)
			}
		}
	})
}
