package iso

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// TestVolume: the disc has the label and the names that installers look for,
// and is the same whenever it is made.
func TestVolume(t *testing.T) {
	testkit.Tool(t, "xorriso")
	var first []byte
	for range 2 {
		path, err := volume(t.Context(), t.TempDir(), "CIDATA", autoinstall.files([]byte("#cloud-config\n")))
		if err != nil {
			t.Fatal(err)
		}
		disc, file, err := openDisc(path)
		if err != nil {
			t.Fatal(err)
		}
		if disc.VolumeID() != "CIDATA" {
			t.Errorf("label %q", disc.VolumeID())
		}
		for name, want := range map[string]string{"user-data": "#cloud-config\n", "meta-data": ""} {
			f, err := disc.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(f); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, content) {
			t.Error("the same answers gave another disc")
		}
		first = content
	}
}

// TestPlaces finds the kernel where distributions have it, and says where it
// looked when it is nowhere.
func TestPlaces(t *testing.T) {
	t.Parallel()
	xorriso := testkit.Tool(t, "xorriso")
	nowhere := struct{ kernel, initrd string }{"vmlinuz", "initrd"}
	for _, p := range []struct{ kernel, initrd string }{places[2], places[4], places[6], nowhere} {
		dir := t.TempDir()
		for _, name := range []string{p.kernel, p.initrd} {
			name = filepath.Join(dir, "tree", name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, "disc.iso")
		if err := run.Run(t.Context(), run.Spec{Argv: []string{xorriso, "-as", "mkisofs", "-quiet", "-R", "-o", path, filepath.Join(dir, "tree")}}); err != nil {
			t.Fatal(err)
		}
		disc, file, err := openDisc(path)
		if err != nil {
			t.Fatal(err)
		}
		kernel, initrd, err := locate(disc)
		if p == nowhere {
			if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "casper/vmlinuz") {
				t.Error(err)
			}
		} else if err != nil || kernel != p.kernel || initrd != p.initrd {
			t.Errorf("%s, %s: %q, %q, %v", p.kernel, p.initrd, kernel, initrd, err)
		}
		_ = file.Close()
	}
	if _, _, err := openDisc("media_test.go"); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func FuzzWatch(f *testing.F) {
	f.Add([]byte("Unpacking\r\n\x1b[1mPrompt: '?' for help> "), 3)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		task := newNotes()
		w := newWatch(task, time.Second)
		cut = min(max(cut, 0), len(text))
		_, _ = w.Write(text[:cut])
		_, _ = w.Write(text[cut:])
		w.end()
		if strings.ContainsFunc(strings.ReplaceAll(task.String()+w.tail(), "\n", ""), func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) {
			t.Errorf("control characters in %q", task)
		}
		if len(w.lines) > tailLines || len(w.line) > maxLine {
			t.Errorf("%d lines, %d bytes", len(w.lines), len(w.line))
		}
	})
}
