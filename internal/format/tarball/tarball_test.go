package tarball_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/tarball"
)

var epoch = time.Unix(1_700_000_000, 0)

// sample is an archive with members around the edges of a block.
func sample(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tarball.NewWriter(&out, epoch)
	for _, size := range []int{0, 1, 511, 512, 513, 5000} {
		if err := w.AddBytes(t.Context(), fmt.Sprintf("member-%d", size), noise(size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func noise(n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(b)
	return b
}

func walk(ctx context.Context, archive []byte) (names []string, err error) {
	err = tarball.Walk(ctx, bytes.NewReader(archive), func(m tarball.Member, _ io.Reader) error {
		names = append(names, m.Name)
		return nil
	})
	return names, err
}

func TestStandardLibraryReadsWhatWeWrite(t *testing.T) {
	r := tar.NewReader(bytes.NewReader(sample(t)))
	for _, size := range []int{0, 1, 511, 512, 513, 5000} {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(content, noise(size)) {
			t.Errorf("%s: wrong content (%v)", h.Name, err)
		}
		if h.Mode != 0o644 || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || !h.ModTime.Equal(epoch) ||
			h.Format != tar.FormatUSTAR || h.Typeflag != tar.TypeReg {
			t.Errorf("header %+v", h)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
}

func TestWalkReadsItBack(t *testing.T) {
	archive := sample(t)
	seen := 0
	err := tarball.Walk(t.Context(), iotest.OneByteReader(bytes.NewReader(archive)), func(m tarball.Member, content io.Reader) error {
		seen++
		got, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		at := archive[m.OffsetBytes : m.OffsetBytes+m.SizeBytes]
		if !bytes.Equal(got, at) || !m.Canonical || !m.ModTime.Equal(epoch) {
			t.Errorf("member %+v", m)
		}
		return nil
	})
	if err != nil || seen != 6 {
		t.Fatalf("%d members, %v", seen, err)
	}
}

// Every byte of an archive belongs to a member's content, or is checked.
func TestEveryByteOutsideContentIsChecked(t *testing.T) {
	archive := sample(t)
	content := map[int64]bool{}
	err := tarball.Walk(t.Context(), bytes.NewReader(archive), func(m tarball.Member, _ io.Reader) error {
		for i := range m.SizeBytes {
			content[m.OffsetBytes+i] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(archive)
	for i := range archive {
		if content[int64(i)] && content[int64(i+1)] {
			continue // one byte of each content will do
		}
		for _, flip := range []byte{1, 0x20, 0x80} {
			broken[i] = archive[i] ^ flip
			_, err := walk(t.Context(), broken)
			if content[int64(i)] != (err == nil) {
				t.Fatalf("byte %d ^ %#x: content %v, error %v", i, flip, content[int64(i)], err)
			}
			if err != nil && fault.KindOf(err) != fault.Input {
				t.Fatalf("byte %d: %v is not the input's fault", i, err)
			}
		}
		broken[i] = archive[i]
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	archive := sample(t)
	for n := range archive {
		if _, err := walk(t.Context(), archive[:n]); fault.KindOf(err) != fault.Input {
			t.Fatalf("%d of %d bytes: %v", n, len(archive), err)
		}
	}
}

func TestForeignArchives(t *testing.T) {
	long := strings.Repeat("long/", 40) + "name"
	regular := func(name string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 3, Mode: 0o600}
	}
	tests := []struct {
		name    string
		headers []*tar.Header
		tail    string
		want    []string
		err     string
	}{
		{name: "dot slash", headers: []*tar.Header{{Typeflag: tar.TypeDir, Name: "./"}, regular("./a"), regular("b//c")}, want: []string{"a", "b/c"}},
		{name: "gnu zeros", headers: []*tar.Header{regular("a")}, tail: strings.Repeat("\x00", 9000), want: []string{"a"}},
		{name: "pax", headers: []*tar.Header{{
			Typeflag: tar.TypeReg, Name: "ä" + long, Size: 3, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"LIBARCHIVE.creationtime": "1"},
		}}, want: []string{"ä" + long}},
		{name: "gnu long name", headers: []*tar.Header{{Typeflag: tar.TypeReg, Name: long, Size: 3, Format: tar.FormatGNU}}, want: []string{long}},
		{name: "ustar prefix", headers: []*tar.Header{{Typeflag: tar.TypeReg, Name: strings.Repeat("p/", 60) + "x", Size: 3, Format: tar.FormatUSTAR}}, want: []string{strings.Repeat("p/", 60) + "x"}},
		{name: "absolute", headers: []*tar.Header{regular("/etc/passwd")}, err: "not relative"},
		{name: "parent", headers: []*tar.Header{regular("a/../../b")}, err: "leaves"},
		{name: "control character", headers: []*tar.Header{regular("a\nb")}, err: "control"},
		{name: "backslash", headers: []*tar.Header{regular(`..\b`)}, err: "not relative"},
		{name: "twice", headers: []*tar.Header{regular("a"), regular("./a")}, err: "twice"},
		{name: "symlink", headers: []*tar.Header{{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "b"}}, err: "not a regular file"},
		{name: "hard link", headers: []*tar.Header{regular("b"), {Typeflag: tar.TypeLink, Name: "a", Linkname: "b"}}, err: "not a regular file"},
		{name: "device", headers: []*tar.Header{{Typeflag: tar.TypeChar, Name: "a"}}, err: "not a regular file"},
		{name: "garbage", headers: []*tar.Header{regular("a")}, tail: "x", err: "should be zero"},
		{name: "endless zeros", headers: []*tar.Header{regular("a")}, tail: strings.Repeat("\x00", 2<<20), err: "zeros after its end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			w := tar.NewWriter(&out)
			for _, h := range tt.headers {
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
				_, _ = w.Write([]byte("abc")[:h.Size])
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			out.WriteString(tt.tail)
			names, err := walk(t.Context(), out.Bytes())
			if tt.err == "" {
				if err != nil || strings.Join(names, " ") != strings.Join(tt.want, " ") {
					t.Errorf("%q, %v", names, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.err) || fault.KindOf(err) != fault.Input {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestWriterRefuses(t *testing.T) {
	tests := []struct {
		name, member string
		size         int64
		content      string
		err          string
	}{
		{"8 GiB", "a", tarball.MaxMemberBytes + 1, "", "less than 8 GiB"},
		{"long name", strings.Repeat("a", 101), 0, "", "longer than 100"},
		{"unclean name", "./a", 0, "", "plain relative"},
		{"too short", "a", 5, "abc", "2 bytes early"},
		{"too long", "a", 2, "abc", "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tarball.NewWriter(io.Discard, epoch)
			err := w.Add(t.Context(), tt.member, tt.size, strings.NewReader(tt.content))
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v", err)
			}
			if w.Close() == nil {
				t.Error("closed as if nothing had happened")
			}
		})
	}
	// 8 GiB less a byte is fine; only the header is looked at here.
	w := tarball.NewWriter(io.Discard, epoch)
	if err := w.Add(t.Context(), "a", tarball.MaxMemberBytes, strings.NewReader("")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func create(t *testing.T, path string, form tarball.Form) tarball.Sum {
	t.Helper()
	archive, err := tarball.Create(path, epoch, form)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Abort()
	if err := archive.AddBytes(t.Context(), "noise", noise(3<<20)); err != nil {
		t.Fatal(err)
	}
	if err := archive.AddBytes(t.Context(), "zeros", make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	sum, err := archive.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestGzipIsTheSameOnAnyNumberOfCores(t *testing.T) {
	dir := t.TempDir()
	var sums []tarball.Sum
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, cores := range []int{1, 2, 7} {
		runtime.GOMAXPROCS(cores)
		sums = append(sums, create(t, filepath.Join(dir, fmt.Sprint(cores)), tarball.Gzip))
	}
	if sums[0] != sums[1] || sums[1] != sums[2] {
		t.Errorf("%v", sums)
	}
	content, err := os.ReadFile(filepath.Join(dir, "1"))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(content)
	if want := (tarball.Sum{SizeBytes: int64(len(content)), SHA256: hex.EncodeToString(digest[:])}); sums[0] != want {
		t.Errorf("sum %v, want %v", sums[0], want)
	}
	// Any gzip reader takes it, seal and all.
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(z); err != nil || len(plain) != 512*2+5<<20+1024 {
		t.Errorf("%d bytes, %v", len(plain), err)
	}
}

func TestEveryByteOfOurGzipIsChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.box")
	archive, err := tarball.Create(path, epoch, tarball.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Abort()
	if err := archive.AddBytes(t.Context(), "text", []byte(strings.Repeat("some text that compresses ", 20))); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Commit(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(content []byte) bool {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		source, err := tarball.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		err = source.Walk(t.Context(), func(tarball.Member, io.Reader) error { return nil })
		return err == nil && source.Sealed() && source.Compression == "gzip"
	}
	if !sealed(good) {
		t.Fatal("the good one is refused")
	}
	for i := range good {
		for _, flip := range []byte{1, 0x10, 0x80} {
			broken := bytes.Clone(good)
			broken[i] ^= flip
			if sealed(broken) {
				t.Fatalf("byte %d of %d ^ %#x passes", i, len(good), flip)
			}
		}
	}
	if sealed(append(bytes.Clone(good), 0)) || sealed(good[:len(good)-1]) {
		t.Error("another length passes")
	}
}

// failAfter fails at the n-th write.
type failAfter struct{ n int }

var errDisk = errors.New("disk is gone")

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n--; f.n < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func TestEveryFailedWriteIsReported(t *testing.T) {
	for n := 0; ; n++ {
		w := tarball.NewWriter(&failAfter{n}, epoch)
		err := w.AddBytes(t.Context(), "a", []byte("abc"))
		err = errors.Join(err, w.AddBytes(t.Context(), "b", noise(2000)))
		if err == nil {
			err = w.Close()
		}
		if err == nil {
			if n != 7 {
				t.Errorf("%d writes, want 7: two headers, contents and paddings, one end", n)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("write %d: %v", n, err)
		}
	}
}

func TestCancelledLeavesNothing(t *testing.T) {
	for _, form := range []tarball.Form{tarball.Plain, tarball.Gzip} {
		dir := t.TempDir()
		archive, err := tarball.Create(filepath.Join(dir, "a"), epoch, form)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := archive.AddBytes(ctx, "noise", noise(5<<20)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := archive.Commit(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		archive.Abort()
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	}
	if _, err := walkCancelled(t); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func walkCancelled(t *testing.T) ([]string, error) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return walk(ctx, sample(t))
}

// FuzzWalk holds Walk against the standard library: what Walk takes, the
// library reads the same way.
func FuzzWalk(f *testing.F) {
	f.Add(sample(f))
	var pax bytes.Buffer
	w := tar.NewWriter(&pax)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("x", 300), Size: 3, Format: tar.FormatPAX})
	_, _ = w.Write([]byte("abc"))
	_ = w.Close()
	f.Add(pax.Bytes())
	f.Fuzz(func(t *testing.T, archive []byte) {
		type member struct {
			name string
			size int64
		}
		var ours []member
		err := tarball.Walk(t.Context(), bytes.NewReader(archive), func(m tarball.Member, content io.Reader) error {
			n, err := io.Copy(io.Discard, content)
			ours = append(ours, member{m.Name, n})
			if strings.HasPrefix(m.Name, "/") || strings.HasPrefix(m.Name, "../") || m.Name == ".." {
				t.Errorf("unsafe name %q", m.Name)
			}
			if n != m.SizeBytes && err == nil {
				t.Errorf("%d of %d bytes", n, m.SizeBytes)
			}
			return err
		})
		if err != nil && fault.KindOf(err) != fault.Input {
			t.Fatalf("%v", err)
		}
	})
}
