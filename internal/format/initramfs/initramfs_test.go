package initramfs

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// empty makes an archive of empty members.
func empty(names ...string) []byte {
	files := map[string][]byte{}
	for _, name := range names {
		files[name] = nil
	}
	return Archive(files, 0o644)
}

func gzip9(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

func zstd3(data []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll(data, nil)
}

type sample struct {
	name string
	data []byte
	want []string
	err  string
}

func samples() []sample {
	microcode := append(empty("kernel", "kernel/x86"), make([]byte, 512)...)
	main := Archive(map[string][]byte{"init": bytes.Repeat([]byte("x"), 4001), "usr/lib/modules/6.1/kernel/nvme.ko": nil}, 0o644)
	want := []string{"init", "usr/lib/modules/6.1/kernel/nvme.ko"}
	both := append([]string{"kernel", "kernel/x86"}, want...)
	return []sample{
		{"plain", main, want, ""},
		{"gzip", gzip9(main), want, ""},
		{"zstd", zstd3(main), want, ""},
		{"microcode and zstd", append(slices.Clone(microcode), zstd3(main)...), both, ""},
		{"microcode and gzip", append(slices.Clone(microcode), gzip9(main)...), both, ""},
		{"empty", nil, nil, ""},
		{"xz", []byte("\xfd7zXZ\x00...."), nil, ErrCompression.Error()},
		{"cut short", main[:200], want[:1], "unexpected EOF"},
		{"name too long", append([]byte("070701"+strings.Repeat("0", 88)+"00FFFFFF"), make([]byte, 99)...), nil, "a name of"},
	}
}

func TestWalk(t *testing.T) {
	for _, test := range samples() {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			err := Walk(bytes.NewReader(test.data), func(name string, _ io.Reader) error { got = append(got, name); return nil })
			if !slices.Equal(got, test.want) {
				t.Errorf("names are %q, want %q", got, test.want)
			}
			if text := fmt.Sprint(err); err == nil && test.err != "" || err != nil && (test.err == "" || !strings.Contains(text, test.err)) {
				t.Errorf("error is %v, want %q", err, test.err)
			}
		})
	}
}

func TestUncompress(t *testing.T) {
	for _, test := range samples() {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := Uncompress(&out, bytes.NewReader(test.data), 1<<20, nil)
			if text := fmt.Sprint(err); err == nil && test.err != "" || err != nil && (test.err == "" || !strings.Contains(text, test.err)) {
				t.Fatalf("error is %v, want %q", err, test.err)
			}
			if err != nil {
				return
			}
			var got []string
			if err := Walk(bytes.NewReader(out.Bytes()), func(name string, _ io.Reader) error { got = append(got, name); return nil }); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("names are %q, want %q (%v)", got, test.want, err)
			}
			if i := bytes.LastIndex(out.Bytes(), []byte("070701")); i > 0 && i%alignment != 0 || bytes.Contains(out.Bytes(), []byte{0x1f, 0x8b}) {
				t.Errorf("an archive at byte %d", i)
			}
		})
	}
	t.Run("plain is as it was", func(t *testing.T) {
		var out bytes.Buffer
		if err := Uncompress(&out, bytes.NewReader(samples()[0].data), 1<<20, nil); err != nil || !bytes.Equal(out.Bytes(), samples()[0].data) {
			t.Errorf("%d bytes, %v", out.Len(), err)
		}
	})
	t.Run("chosen", func(t *testing.T) {
		data := append(empty("kernel"), zstd3(Archive(map[string][]byte{"a.ko": []byte("left out"), "b.ko": []byte("kept"), "init": []byte("#!")}, 0o755))...)
		var out bytes.Buffer
		keep := func(name string) bool { return name != "a.ko" }
		if err := Uncompress(&out, bytes.NewReader(data), 1<<20, keep); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		err := Walk(&out, func(name string, content io.Reader) error {
			data, err := io.ReadAll(content)
			got[name] = string(data)
			return err
		})
		if want := map[string]string{"kernel": "", "b.ko": "kept", "init": "#!"}; err != nil || !maps.Equal(got, want) {
			t.Errorf("%q, want %q (%v)", got, want, err)
		}
	})
	t.Run("content with two names is kept", func(t *testing.T) {
		data := bytes.Replace(empty("a.ko"), []byte("00000001"+"00000000"+"00000000"), []byte("00000002"+"00000000"+"00000000"), 1)
		var out bytes.Buffer
		if err := Uncompress(&out, bytes.NewReader(data), 1<<20, func(string) bool { return false }); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Errorf("%q, want %q (%v)", out.Bytes(), data, err)
		}
	})
	t.Run("too much", func(t *testing.T) {
		err := Uncompress(new(bytes.Buffer), bytes.NewReader(gzip9(Archive(map[string][]byte{"a": make([]byte, 1<<20)}, 0o644))), 1<<20, nil)
		if err == nil || !strings.Contains(err.Error(), "over 1048576 bytes") {
			t.Error(err)
		}
	})
}

// Another's program reads what we write.
func TestArchive(t *testing.T) {
	testkit.Busybox(t)
	files := map[string][]byte{"preseed.cfg": []byte("d-i x\n"), "a": nil, "odd": bytes.Repeat([]byte("x"), 1001)}
	dir := t.TempDir()
	err := run.Run(t.Context(), run.Spec{Argv: []string{"/bin/busybox", "cpio", "-i"}, Dir: dir, Stdin: bytes.NewReader(Archive(files, 0o644))})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if !bytes.Equal(Archive(files, 0o644), Archive(files, 0o644)) {
		t.Error("the same files gave other bytes")
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(empty("init"))
	f.Add(append(empty("a"), gzip9(empty("b"))...))
	f.Add(zstd3(empty("c")))
	f.Fuzz(func(t *testing.T, data []byte) {
		count := 0
		err := Walk(bytes.NewReader(data), func(name string, _ io.Reader) error {
			if count++; len(name) > maxNameBytes {
				t.Errorf("a name of %d bytes", len(name))
			}
			return nil
		})
		var out bytes.Buffer
		if err != nil || Uncompress(&out, bytes.NewReader(data), 1<<20, nil) != nil {
			return
		}
		if err := Walk(bytes.NewReader(out.Bytes()), func(string, io.Reader) error { count--; return nil }); err != nil || count != 0 {
			t.Errorf("%d names fewer without compression (%v)", count, err)
		}
	})
}
