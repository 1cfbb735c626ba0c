package ovf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/tarball"
)

// Limits of what Walk keeps in memory.
const (
	maxEnvelopeBytes = 8 << 20
	maxManifestBytes = 1 << 20
)

// OVA is an OVA to write. The envelope must name the disk as Disk.Name.
type OVA struct {
	Name       string // of the envelope and the manifest, without extension
	Epoch      time.Time
	Envelope   []byte
	Disk       DiskFile
	DiskSHA256 string // of the file, lower-case hex
	Content    io.Reader
	Progress   func(doneBytes int64) // bytes of the OVA; may be nil
}

// WriteOVA writes path: envelope, manifest, disk, in the order of DSP0243,
// section 5.3. It fails if the disk is not what DiskSHA256 says.
func WriteOVA(ctx context.Context, path string, o OVA) (tarball.Sum, error) {
	archive, err := tarball.Create(path, o.Epoch, tarball.Plain)
	if err != nil {
		return tarball.Sum{}, err
	}
	defer archive.Abort()
	archive.File.Progress = o.Progress
	envelopeSum := sha256.Sum256(o.Envelope)
	manifest := Manifest(Digest{Name: o.Name + ".ovf", Hex: hex.EncodeToString(envelopeSum[:])},
		Digest{Name: o.Disk.Name, Hex: o.DiskSHA256})
	digest := sha256.New()
	for _, step := range []func() error{
		func() error { return archive.AddBytes(ctx, o.Name+".ovf", o.Envelope) },
		func() error { return archive.AddBytes(ctx, o.Name+".mf", manifest) },
		func() error {
			return archive.Add(ctx, o.Disk.Name, o.Disk.SizeBytes, io.TeeReader(o.Content, digest))
		},
	} {
		if err := step(); err != nil {
			return tarball.Sum{}, err
		}
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != o.DiskSHA256 {
		return tarball.Sum{}, fmt.Errorf("the disk %s changed while it was packed", o.Disk.Name)
	}
	return archive.Commit()
}

// Opened is what an OVA turned out to be.
type Opened struct {
	Package Package
	Members []tarball.Member
	// Verified says that a manifest covers every other member. If there is none
	// the content could not be checked.
	Verified bool
}

// WalkOVA reads the OVA at path from start to end. fn, if not nil, gets every
// member; what it was given can be trusted only once WalkOVA has returned
// without an error.
func WalkOVA(ctx context.Context, path string, fn func(member tarball.Member, content io.Reader) error) (*Opened, error) {
	source, err := tarball.Open(path)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	defer source.Close() //nolint:errcheck // opened for reading
	if source.Compression != "" {
		return nil, fault.Errorf(fault.Input, "an OVA is not compressed, this file is (%s)", source.Compression)
	}
	w := ovaWalker{fn: fn, sums: map[string]map[string]string{}}
	if err := source.Walk(ctx, w.member); err != nil {
		return nil, err
	}
	if len(w.opened.Members) == 0 || !hasExt(w.opened.Members[0].Name, ".ovf") {
		return nil, fault.Errorf(fault.Input, "the first member is not an .ovf: not an OVA")
	}
	if w.opened.Package, err = Parse(bytes.NewReader(w.envelope)); err != nil {
		return nil, err
	}
	if err := w.references(); err != nil {
		return nil, err
	}
	return &w.opened, w.verify()
}

type ovaWalker struct {
	fn       func(tarball.Member, io.Reader) error
	opened   Opened
	envelope []byte
	manifest []byte
	mfName   string
	sums     map[string]map[string]string // member, algorithm
}

func (w *ovaWalker) member(member tarball.Member, content io.Reader) error {
	hashes := map[string]hash.Hash{}
	for _, algorithm := range w.algorithms() {
		hashes[algorithm] = Digest{Algorithm: algorithm}.New()
		content = io.TeeReader(content, hashes[algorithm])
	}
	first := len(w.opened.Members) == 0
	w.opened.Members = append(w.opened.Members, member)
	var err error
	switch {
	case first && hasExt(member.Name, ".ovf"):
		w.envelope, err = keep(member, content, maxEnvelopeBytes)
		content = bytes.NewReader(w.envelope)
	case hasExt(member.Name, ".mf") && w.mfName == "":
		w.mfName = member.Name
		w.manifest, err = keep(member, content, maxManifestBytes)
		content = bytes.NewReader(w.manifest)
	}
	if err == nil && w.fn != nil {
		err = w.fn(member, content)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, content)
	}
	w.sums[member.Name] = map[string]string{}
	for algorithm, h := range hashes {
		w.sums[member.Name][algorithm] = hex.EncodeToString(h.Sum(nil))
	}
	return err
}

// algorithms are those worth computing: what the manifest uses, or all while
// it has not been seen.
func (w *ovaWalker) algorithms() []string {
	used := []string{}
	digests, err := ParseManifest(w.manifest)
	for _, d := range digests {
		if !contains(used, d.Algorithm) {
			used = append(used, d.Algorithm)
		}
	}
	if len(used) == 0 || err != nil {
		return []string{"SHA1", "SHA256", "SHA512"}
	}
	return used
}

func keep(member tarball.Member, content io.Reader, limit int64) ([]byte, error) {
	if member.SizeBytes > limit {
		return nil, fault.Errorf(fault.Input, "%s is larger than %d bytes", member.Name, limit)
	}
	return io.ReadAll(content)
}

// references checks that every file of the envelope is there, in its size.
func (w *ovaWalker) references() error {
	for _, disk := range w.opened.Package.Disks {
		found := false
		for _, member := range w.opened.Members {
			if member.Name != path.Clean(disk.File) {
				continue
			}
			found = true
			if disk.SizeBytes != 0 && disk.SizeBytes != member.SizeBytes {
				return fault.Errorf(fault.Input, "damaged OVA: %s has %d bytes, the envelope says %d", member.Name, member.SizeBytes, disk.SizeBytes)
			}
		}
		if !found {
			return fault.Errorf(fault.Input, "damaged OVA: the disk %s is missing", disk.File)
		}
	}
	return nil
}

func (w *ovaWalker) verify() error {
	if w.mfName == "" {
		return nil
	}
	digests, err := ParseManifest(w.manifest)
	if err != nil {
		return err
	}
	covered := map[string]bool{w.mfName: true}
	for _, d := range digests {
		sums, ok := w.sums[d.Name]
		if !ok {
			return fault.Errorf(fault.Input, "damaged OVA: the manifest names %s, which is missing", d.Name)
		}
		if sums[d.Algorithm] != d.Hex {
			return fault.Errorf(fault.Input, "damaged OVA: %s is not what the manifest says; build it or download it again", d.Name)
		}
		covered[d.Name] = true
	}
	w.opened.Verified = true
	for _, member := range w.opened.Members {
		if !covered[member.Name] && !hasExt(member.Name, ".cert") {
			return fault.Errorf(fault.Input, "damaged OVA: the manifest says nothing of %s", member.Name)
		}
	}
	return nil
}

func hasExt(name, ext string) bool { return strings.EqualFold(path.Ext(name), ext) }

func contains(list []string, item string) bool {
	for _, each := range list {
		if each == item {
			return true
		}
	}
	return false
}
