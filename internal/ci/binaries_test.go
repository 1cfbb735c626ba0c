package ci_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/testkit"
)

// TestBinaries: what a release offers is static, is for the machine in its
// name, knows its version, fits its checksum, and comes out the same from a
// checkout in another folder.
func TestBinaries(t *testing.T) {
	testkit.Whole(t, "builds the program four times")
	const version = "1.2.3-rc.1"
	first, second := t.TempDir(), filepath.Join(t.TempDir(), "made", "here")
	binaries(t, root, version, first)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum", "cmd", "internal", "platforms", "provision", ".github"} {
		if out, err := command(t, "", "cp", "-R", filepath.Join(root, name), elsewhere); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	binaries(t, elsewhere, version, second)

	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		name := "imagebuild-" + version + "-linux-" + arch
		f, err := elf.Open(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range f.Progs {
			if program.Type == elf.PT_INTERP || program.Type == elf.PT_DYNAMIC {
				t.Errorf("%s is not static: it has a %v", name, program.Type)
			}
		}
		if f.Machine != machine {
			t.Errorf("%s is for %v", name, f.Machine)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if one, two := read(t, filepath.Join(first, name)), read(t, filepath.Join(second, name)); !bytes.Equal(one, two) {
			t.Errorf("%s of another folder has other bytes", name)
		}
	}
	if out, err := command(t, first, "sha256sum", "--check", "--strict", "SHA256SUMS"); err != nil || strings.Count(out, ": OK") != 2 {
		t.Errorf("SHA256SUMS: %v\n%s", err, out)
	}
	if out, err := command(t, "", filepath.Join(first, "imagebuild-"+version+"-linux-amd64"), "version"); err != nil || !strings.HasPrefix(out, "imagebuild "+version+" ") {
		t.Errorf("version: %v\n%s", err, out)
	}
	if entries, err := os.ReadDir(first); err != nil || len(entries) != 3 {
		t.Errorf("%v, %v: want two programs and SHA256SUMS", entries, err)
	}
}

// binaries runs binaries.sh of a checkout, with the caches of the machine.
func binaries(t *testing.T, checkout, version, folder string) {
	t.Helper()
	var env []string
	for _, name := range []string{"GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOTOOLCHAIN"} {
		value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := commandEnv(t, "", env, filepath.Join(checkout, ".github/scripts/binaries.sh"), version, folder); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
