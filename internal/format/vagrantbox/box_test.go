package vagrantbox_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
)

func write(t testing.TB, path string, form tarball.Form) {
	t.Helper()
	box, err := vagrantbox.Create(path, form, vagrantbox.Seal{Name: "golden", Version: "1", Arch: "amd64", PlanSHA256: "00", Epoch: 1_700_000_000})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Abort()
	metadata, err := vagrantbox.Metadata{Provider: "virtualbox", Architecture: "amd64"}.JSON()
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(box.AddBytes(t.Context(), vagrantbox.MetadataName, metadata),
		box.Add(t.Context(), "disk", 1000, bytes.NewReader(make([]byte, 1000))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEveryByteOfOurBoxIsChecked(t *testing.T) {
	for _, form := range []tarball.Form{tarball.Plain, tarball.Gzip} {
		path := filepath.Join(t.TempDir(), "a.box")
		write(t, path, form)
		box, err := vagrantbox.Walk(t.Context(), path, nil)
		if err != nil || box.Seal == nil || box.Metadata.Provider != "virtualbox" || len(box.Members) != 3 {
			t.Fatalf("%+v, %v", box, err)
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		step := 1
		if form == tarball.Plain {
			step = 5 // tarball's own test has them all
		}
		for i := 0; i < len(good); i += step {
			broken := bytes.Clone(good)
			broken[i] ^= 1 << (i % 8)
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := vagrantbox.Walk(t.Context(), path, nil); fault.KindOf(err) != fault.Input {
				t.Fatalf("byte %d of %d: %v", i, len(good), err)
			}
		}
	}
}

// foreign makes a box as a stranger's tool would, in any compression.
func foreign(t *testing.T, compression string, members ...string) string {
	t.Helper()
	var archive, out bytes.Buffer
	w := tar.NewWriter(&archive)
	for i := 0; i < len(members); i += 2 {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: members[i], Size: int64(len(members[i+1]))}); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, members[i+1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var z io.WriteCloser
	var err error
	switch compression {
	case "gzip":
		z = gzip.NewWriter(&out)
	case "xz":
		z, err = xz.NewWriter(&out)
	case "zstd":
		z, err = zstd.NewWriter(&out)
	default:
		out = archive
	}
	if z != nil && err == nil {
		_, err = z.Write(archive.Bytes())
		err = errors.Join(err, z.Close())
	}
	path := filepath.Join(t.TempDir(), "a.box")
	if err = errors.Join(err, os.WriteFile(path, out.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestForeignBoxes(t *testing.T) {
	const metadata = `{"provider": "libvirt", "virtual_size": 40, "format": "qcow2", "extra": [1]}`
	for _, compression := range []string{"", "gzip", "xz", "zstd"} {
		var disk string
		path := foreign(t, compression, "./box.img", "content", "./metadata.json", metadata)
		box, err := vagrantbox.Walk(t.Context(), path, func(m tarball.Member, content io.Reader) error {
			all, err := io.ReadAll(content)
			if m.Name == "box.img" {
				disk = string(all)
			}
			return err
		})
		if err != nil || disk != "content" || box.Seal != nil || box.Compression != compression ||
			box.Metadata.Provider != "libvirt" || box.Metadata.VirtualSizeGB != 40 || box.Metadata.Format != "qcow2" {
			t.Errorf("%s: %+v, %v", compression, box, err)
		}
	}
	// Numbers as text and text as numbers are of no use, but of no harm.
	box, err := vagrantbox.Walk(t.Context(), foreign(t, "", "metadata.json", `{"provider":"x","virtual_size":"40","disks":{},"architecture":7}`), nil)
	if err != nil || box.Metadata.VirtualSizeGB != 0 {
		t.Errorf("%+v, %v", box, err)
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name, err string
		members   []string
	}{
		{"no metadata", "not a Vagrant box", []string{"a", "b"}},
		{"in a folder", "not a Vagrant box", []string{"box/metadata.json", `{"provider":"x"}`}},
		{"no provider", "no provider", []string{"metadata.json", "{}"}},
		{"no JSON", "metadata.json", []string{"metadata.json", "provider: x"}},
		{"large metadata", "larger than", []string{"metadata.json", strings.Repeat(" ", 2<<20)}},
		{"forged seal", "does not match", []string{"metadata.json", `{"provider":"x"}`, "imagebuild.json", `{"schema":1}`}},
		{"newer seal", "newer imagebuild", []string{"metadata.json", `{"provider":"x"}`, "imagebuild.json", `{"schema":9}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := vagrantbox.Walk(t.Context(), foreign(t, "", tt.members...), nil)
			if err == nil || !strings.Contains(err.Error(), tt.err) || fault.KindOf(err) != fault.Input {
				t.Errorf("error %v", err)
			}
		})
	}
	for _, compression := range []string{"gzip", "xz", "zstd"} {
		path := foreign(t, compression, "metadata.json", `{"provider":"x"}`)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{7, len(content) / 2, len(content) - 1} {
			if err := os.WriteFile(path, content[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := vagrantbox.Walk(t.Context(), path, nil); fault.KindOf(err) != fault.Input {
				t.Errorf("%s cut to %d bytes: %v", compression, n, err)
			}
		}
	}
	if _, err := vagrantbox.Walk(t.Context(), filepath.Join(t.TempDir(), "missing"), nil); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestWholeGB(t *testing.T) {
	for sizeBytes, want := range map[int64]int64{1: 1, 1 << 30: 1, 1<<30 + 1: 2, 40 << 30: 40} {
		if got := vagrantbox.WholeGB(sizeBytes); got != want {
			t.Errorf("%d bytes: %d GB, want %d", sizeBytes, got, want)
		}
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"provider":"libvirt","disks":[{"path":"a"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := vagrantbox.ParseMetadata(content)
		if err == nil && m.Provider == "" || err != nil && fault.KindOf(err) != fault.Input {
			t.Errorf("%+v, %v", m, err)
		}
	})
}
