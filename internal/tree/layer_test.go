package tree

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLayer makes the same start twice, changes one, and brings the other to
// the same state through a layer.
func TestLayer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners, devices and capabilities need root")
	}
	start := `mkdir -p a/b/c gone/deep turns emptied; echo one >a/one; ln a/one a/b/two; ln a/one a/b/three
echo x >gone/deep/x; echo y >turns/y; ln -s ../a/one a/link; echo f >becomesdir; echo same >same; chmod 600 same
mkfifo pipe; echo z >emptied/z; : >old; find . -depth -exec touch -h -d @1000000000 {} +`
	change := `echo ONE >>a/one; rm -r gone; rm -r turns; echo file >turns; rm becomesdir; mkdir becomesdir; echo in >becomesdir/in
ln -sf /etc/passwd a/link; rm a/b/three; ln a/one "a/b/fünf fünf"; chown 12:34 same; chmod 4755 same; rm emptied/z
mknod dev c 1 3; touch -d @1000000001 old; mkdir -m 1777 new; printf 'name\nwith newline' >'new/a
b'; chmod 0700 a/b`
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		shell(t, dir, start)
	}
	before, err := Snapshot(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Snapshot(t.Context(), one); err != nil || Diff(before, again).Len() != 0 {
		t.Fatalf("nothing happened, but %d changes: %v", Diff(before, again).Len(), err)
	}
	shell(t, one, change)
	if err := unix.Setxattr(filepath.Join(one, "turns"), "user.note", []byte("v"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	after, err := Snapshot(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	if err := WriteLayer(t.Context(), &layer, one, Diff(before, after)); err != nil {
		t.Fatal(err)
	}
	if err := ApplyLayer(t.Context(), bytes.NewReader(layer.Bytes()), two); err != nil {
		t.Fatal(err)
	}
	if want, got := canonical(t, one), canonical(t, two); want != got {
		t.Errorf("the trees differ:\n%s", diffText(want, got))
	}

	t.Run("failing writer", func(t *testing.T) {
		if err := WriteLayer(t.Context(), &failAfter{}, one, Diff(before, after)); !errors.Is(err, errFull) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Snapshot(ctx, one); !errors.Is(err, context.Canceled) {
			t.Errorf("Snapshot: %v", err)
		}
	})
}

func TestHostileLayer(t *testing.T) {
	outside := t.TempDir()
	shell(t, outside, "echo secret >file")
	root := t.TempDir()
	shell(t, root, "ln -s "+outside+" link")
	source := t.TempDir()
	shell(t, source, "mkdir link; echo bad >link/file")
	empty := Index{}
	full, err := Snapshot(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	changes := Diff(empty, full)
	changes.changed = changes.changed[2:] // link/file without its directory
	changes.removed = []string{"link/file"}
	var layer bytes.Buffer
	if err := WriteLayer(t.Context(), &layer, source, changes); err != nil {
		t.Fatal(err)
	}
	if err := ApplyLayer(t.Context(), &layer, root); err == nil {
		t.Error("a file was written through a symlink")
	}
	if text, err := os.ReadFile(filepath.Join(outside, "file")); err != nil || string(text) != "secret\n" {
		t.Errorf("outside was changed: %q, %v", text, err)
	}
}

func shell(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// canonical renders a directory as text, with everything but the times of
// directories, which reading does not change but the test's own writing does.
func canonical(t *testing.T, dir string) string {
	t.Helper()
	var tar bytes.Buffer
	if _, err := WriteTar(t.Context(), &tar, Dir(dir), nil); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "tvf", "-", "--numeric-owner", "--full-time", "--xattrs")
	cmd.Stdin = &tar
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var kept []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "d") {
			line = strings.TrimSpace(line)
		} else {
			fields := strings.Fields(line)
			line = strings.Join(append(fields[:3], fields[5:]...), " ")
		}
		// Files made in different seconds differ in time and nothing else.
		kept = append(kept, line)
	}
	return strings.Join(kept, "\n")
}

func diffText(a, b string) string {
	var out strings.Builder
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(left), len(right)) {
		l, r := "", ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		if l != r {
			_, _ = io.WriteString(&out, "- "+l+"\n+ "+r+"\n")
		}
	}
	return out.String()
}
