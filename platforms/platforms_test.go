package platforms_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/platforms"
)

var update = flag.Bool("update", false, "write the goldens anew")

// disk is a small disk in memory: mostly holes, a little noise.
type disk struct {
	bytes []byte
	fail  func() error // asked before every read
}

const diskBytes = 6 << 20

func newDisk(seed byte) *disk {
	d := &disk{bytes: make([]byte, diskBytes), fail: func() error { return nil }}
	source := rand.NewChaCha8([32]byte{seed})
	_, _ = source.Read(d.bytes[:200<<10])
	_, _ = source.Read(d.bytes[4<<20 : 4<<20+5000])
	return d
}

func (d *disk) Size() int64 { return int64(len(d.bytes)) }

func (d *disk) ReadAt(p []byte, offset int64) (int, error) {
	if err := d.fail(); err != nil {
		return 0, err
	}
	return bytes.NewReader(d.bytes).ReadAt(p, offset)
}

func (d *disk) NextExtent(offset int64) (start, end int64, err error) {
	for _, e := range [][2]int64{{0, 256 << 10}, {4 << 20, 5 << 20}} {
		if offset < e[1] {
			return max(offset, e[0]), e[1], nil
		}
	}
	return 0, 0, io.EOF
}

// disks hands out one disk for each variant, as the build does.
type disks struct {
	dir string
	mu  sync.Mutex
	all map[string]*disk
}

func newDisks(dir string) *disks {
	return &disks{dir: dir, all: map[string]*disk{target.Canonical: newDisk(1), target.Vagrant: newDisk(2)}}
}

func (d *disks) Disk(_ context.Context, variant string) (image.Disk, error) {
	return d.all[variant], nil
}

func (d *disks) StreamVMDK(ctx context.Context, variant string, _ report.Task) (target.VMDKFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	path := filepath.Join(d.dir, "stream-"+variant+".vmdk")
	file, err := tarball.CreateFile(path)
	if err != nil {
		return target.VMDKFile{}, err
	}
	defer file.Abort()
	info, err := vmdk.WriteStream(ctx, file, d.all[variant], vmdk.StreamOptions{CID: 7})
	if err != nil {
		return target.VMDKFile{}, err
	}
	sum, err := file.Commit()
	return target.VMDKFile{
		Path: path, SizeBytes: sum.SizeBytes, SHA256: sum.SHA256,
		CapacityBytes: info.CapacityBytes, PopulatedBytes: info.PopulatedBytes,
	}, err
}

func newJob(t testing.TB) target.Job {
	return target.Job{
		Name: "golden", Version: "1.2.3", Arch: "amd64", OSName: "debian", Release: "bookworm",
		Epoch: time.Unix(1_700_000_000, 0), Identity: target.Identity(sha256.Sum256([]byte("plan"))),
		Dir: t.TempDir(), Disks: newDisks(t.TempDir()),
	}
}

// each runs fn for every registered platform that yields files, with its
// defaults.
func each(t *testing.T, fn func(t *testing.T, p platforms.Packer)) {
	t.Helper()
	for _, kind := range platforms.Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			p, err := platforms.New(kind.Name, kind.Name, kind.New())
			if err != nil {
				t.Fatal(err)
			}
			packer, files := p.(platforms.Packer)
			_, cloud := p.(platforms.Publisher)
			if files == cloud {
				t.Fatalf("%s: a packer %t, a publisher %t", kind.Name, files, cloud)
			}
			if cloud {
				t.Skip("its images are in a cloud")
			}
			fn(t, packer)
		})
	}
}

func mustPack(t *testing.T, p platforms.Packer, job target.Job) []image.Artifact {
	t.Helper()
	artifacts, err := p.Pack(t.Context(), job, report.Discard.Begin("pack"))
	if err != nil {
		t.Fatal(err)
	}
	return artifacts
}

// reopen reads an artifact as a stranger would.
func reopen(ctx context.Context, path string, kind image.Kind, fn func(tarball.Member, io.Reader) error) error {
	switch kind {
	case image.OVA:
		opened, err := ovf.WalkOVA(ctx, path, fn)
		if err == nil && !opened.Verified {
			err = errors.New("no manifest")
		}
		return err
	case image.Box:
		box, err := vagrantbox.Walk(ctx, path, fn)
		if err == nil && box.Seal == nil {
			err = errors.New("no seal")
		}
		return err
	}
	return nil
}

func TestKinds(t *testing.T) {
	if err := (template.Registry{Platforms: platforms.Kinds()}).Check(); err != nil {
		t.Error(err)
	}
	for _, kind := range platforms.Kinds() {
		var faults faultList
		kind.New().(template.Validator).Validate(&faults)
		if len(faults) != 0 {
			t.Errorf("%s: the defaults are refused: %v", kind.Name, faults)
		}
	}
	if _, err := platforms.New("nonsense", "x", nil); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	if _, err := platforms.New("libvirt", "x", struct{}{}); fault.KindOf(err) != fault.Bug {
		t.Error(err)
	}
	want := []string{"open-vm-tools", "qemu-guest-agent"}
	if got := platforms.GuestPackages("debian", "bookworm"); !cmp.Equal(got, want) {
		t.Errorf("guest packages %q", got)
	}
	if got := platforms.GuestPackages("plan9", ""); len(got) != 0 {
		t.Errorf("guest packages %q", got)
	}
}

type faultList []string

func (f *faultList) Add(field, format string, args ...any) {
	*f = append(*f, field+": "+fmt.Sprintf(format, args...))
}

func TestArtifactsAreWhatTheySay(t *testing.T) {
	each(t, func(t *testing.T, p platforms.Packer) {
		job := newJob(t)
		if err := p.Check(t.Context()); err != nil {
			t.Error(err)
		}
		artifacts := mustPack(t, p, job)
		if len(artifacts) != 2 {
			t.Errorf("%d artifacts", len(artifacts))
		}
		found, err := os.ReadDir(job.Dir)
		if err != nil || len(found) != len(artifacts) {
			t.Errorf("the folder holds %v", found)
		}
		for _, a := range artifacts {
			content, err := os.ReadFile(filepath.Join(job.Dir, a.Path))
			if err != nil {
				t.Fatal(err)
			}
			digest := sha256.Sum256(content)
			if a.SizeBytes != int64(len(content)) || a.SHA256 != hex.EncodeToString(digest[:]) || a.Platform != p.String() || a.Arch != "amd64" {
				t.Errorf("%+v", a)
			}
			if want := map[bool]string{true: target.Vagrant, false: target.Canonical}[a.Kind == image.Box]; a.Variant != want {
				t.Errorf("%s has the disk %q", a.Name, a.Variant)
			}
			if err := reopen(t.Context(), filepath.Join(job.Dir, a.Path), a.Kind, nil); err != nil {
				t.Errorf("%s: %v", a.Name, err)
			}
		}
	})
}

// Every small member of every artifact is a golden.
func TestGoldens(t *testing.T) {
	each(t, func(t *testing.T, p platforms.Packer) { goldens(t, p.String(), p) })
}

func goldens(t *testing.T, folder string, p platforms.Packer) {
	t.Helper()
	job := newJob(t)
	for _, a := range mustPack(t, p, job) {
		var listing strings.Builder
		err := reopen(t.Context(), filepath.Join(job.Dir, a.Path), a.Kind, func(m tarball.Member, content io.Reader) error {
			fmt.Fprintf(&listing, "%s\n", m.Name)
			if strings.HasSuffix(m.Name, ".vmdk") || strings.HasSuffix(m.Name, ".img") {
				return nil
			}
			text, err := io.ReadAll(content)
			// What depends on the compressor's version is left out.
			text = regexp.MustCompile(`ovf:size="\d+"`).ReplaceAll(text, []byte(`ovf:size="N"`))
			if m.Name != vagrantbox.SealName && !strings.HasSuffix(m.Name, ".mf") {
				golden(t, filepath.Join(folder, string(a.Kind), m.Name), text)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if a.Kind != image.QCOW2 {
			golden(t, filepath.Join(folder, string(a.Kind), "members.txt"), []byte(listing.String()))
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("..", "testdata", "platforms", name)
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, got, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test ./platforms -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestPackedTwiceIsTheSame(t *testing.T) {
	each(t, func(t *testing.T, p platforms.Packer) {
		first, second := mustPack(t, p, newJob(t)), mustPack(t, p, newJob(t))
		if diff := cmp.Diff(first, second); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEveryDamagedByteIsNoticed(t *testing.T) {
	each(t, func(t *testing.T, p platforms.Packer) {
		job := newJob(t)
		for _, a := range mustPack(t, p, job) {
			if a.Kind == image.QCOW2 {
				continue // a bare disk has no digest; SHA256SUMS beside it does
			}
			path := filepath.Join(job.Dir, a.Path)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(1, 2))
			positions := []int{0, 3, 9, len(content) - 1, len(content) - 30, len(content) - 600}
			for range 50 {
				positions = append(positions, random.IntN(len(content)))
			}
			for i := range 30 { // the small members come first
				positions = append(positions, i*97%min(8192, len(content)))
			}
			for _, at := range positions {
				before := content[at]
				content[at] ^= byte(1 + random.IntN(255))
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := reopen(t.Context(), path, a.Kind, nil); err == nil {
					t.Errorf("%s: byte %d changed from %#x to %#x unnoticed", a.Name, at, before, content[at])
				} else if fault.KindOf(err) != fault.Input {
					t.Errorf("%s: byte %d: %v is not the input's fault", a.Name, at, err)
				}
				content[at] = before
			}
		}
	})
}

var errRead = errors.New("the disk cannot be read")

// Whichever read fails, and wherever it is cancelled, nothing is left.
func TestEveryFailureLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, p platforms.Packer) {
		for n := 0; ; n++ {
			job := newJob(t)
			ctx, cancel := context.WithCancel(t.Context())
			var mu sync.Mutex
			reads := 0
			for _, d := range job.Disks.(*disks).all {
				d.fail = func() error {
					mu.Lock()
					defer mu.Unlock()
					if reads++; reads != n+1 {
						return nil
					}
					if n%2 == 1 {
						cancel()
						return nil
					}
					return errRead
				}
			}
			artifacts, err := p.Pack(ctx, job, report.Discard.Begin("pack"))
			cancel()
			if err == nil && reads <= n {
				return // n was beyond the last read
			}
			// A cancellation during the last read may come too late to matter.
			if err == nil && n%2 == 0 {
				t.Fatalf("read %d failed unnoticed", n)
			}
			if err != nil && (!errors.Is(err, errRead) && !errors.Is(err, context.Canceled) || artifacts != nil) {
				t.Fatalf("read %d: %v, %v", n, artifacts, err)
			}
			if left, _ := os.ReadDir(job.Dir); err != nil && len(left) != 0 {
				t.Fatalf("read %d: %v is left", n, left)
			}
		}
	})
}

func TestUnwritableFolder(t *testing.T) {
	each(t, func(t *testing.T, p platforms.Packer) {
		job := newJob(t)
		job.Dir = filepath.Join(job.Dir, "file")
		if err := os.WriteFile(job.Dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Pack(t.Context(), job, report.Discard.Begin("pack")); err == nil {
			t.Error("packed into a folder that is a file")
		}
	})
}
