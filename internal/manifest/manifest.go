// Package manifest lists everything that is in an image: each path with type,
// mode, owner, size, digest, link and xattrs; packages; users; the services
// that start. Two images are the same exactly if their manifests are.
//
// It is written as JSON lines in one zstd frame, a header first, then the
// paths in the order of the tree, then the rest by name. The same tree gives
// the same bytes.
//
//	err := manifest.Write(ctx, file, sealed)
//	differences, err := manifest.Compare(a, b)
//
// Of an image that is a disk kept as it is, the digest of the whole disk comes
// first, and instead of the paths there may be only the reason why they are not
// known; see Disk.
//
// Memory is bounded: neither side holds the paths. It does not record times:
// they are clamped to one value, and say nothing about the content.
package manifest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/image"
)

// Format is the version of the layout, in the header.
const Format = "imagebuild-manifest/1"

// Extension is how the file's name ends.
const Extension = ".manifest.json.zst"

// Line is one line of a manifest; exactly one field is set.
type Line struct {
	Format  string   `json:"format,omitempty"`
	Disk    *Disk    `json:"disk,omitempty"`
	Path    *Path    `json:"path,omitempty"`
	Package *Package `json:"package,omitempty"`
	User    *User    `json:"user,omitempty"`
	Service *Service `json:"service,omitempty"`
}

// Path is one entry of the tree.
type Path struct {
	Name   string            `json:"name"` // "." is the root; bytes that are not UTF-8 are written as %XX
	Type   string            `json:"type"`
	Mode   string            `json:"mode"` // four octal digits
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Size   int64             `json:"size,omitempty"`   // bytes
	SHA256 string            `json:"sha256,omitempty"` // of a file's content, lower-case hex
	Link   string            `json:"link,omitempty"`
	Device string            `json:"device,omitempty"` // major:minor
	Xattrs map[string]string `json:"xattrs,omitempty"` // values in base64
}

// Package is an installed package.
type Package struct {
	Name    string `json:"name"`
	Arch    string `json:"arch"`
	Version string `json:"version"`
}

// User is an account.
type User struct {
	Name   string   `json:"name"`
	UID    int      `json:"uid"`
	GID    int      `json:"gid"`
	Home   string   `json:"home"`
	Shell  string   `json:"shell"`
	Groups []string `json:"groups,omitempty"` // further groups, by name
}

// Service is a systemd unit that something at boot pulls in.
type Service struct {
	Name string `json:"name"`
	By   string `json:"by"` // as "multi-user.target"
}

// Write writes the manifest of a tree.
func Write(ctx context.Context, w io.Writer, t image.Tree) error { return write(ctx, w, nil, t) }

func write(ctx context.Context, w io.Writer, disk *Disk, t image.Tree) error {
	// One worker and fixed sizes: the compressor's bytes must not depend on
	// the machine.
	compressor, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(true))
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	s := &scanner{out: json.NewEncoder(compressor), buf: make([]byte, 128<<10)}
	s.out.SetEscapeHTML(false)
	err = s.out.Encode(Line{Format: Format})
	if err == nil && disk != nil {
		err = s.out.Encode(Line{Disk: disk})
	}
	if err == nil && t != nil {
		err = t.Walk(ctx, s.entry)
	}
	if err == nil {
		err = s.rest()
	}
	if errClose := compressor.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

type scanner struct {
	out      *json.Encoder
	buf      []byte
	packages []Package
	accounts []guest.Account
	groups   []guest.Group
	services []Service
}

func (s *scanner) entry(e *image.Entry, content io.Reader) error {
	line := &Path{
		Name: escape(e.Path), Type: e.Type.String(), Mode: fmt.Sprintf("%04o", e.Mode), UID: e.UID, GID: e.GID,
		Size: e.SizeBytes, Link: escape(e.Link),
	}
	switch e.Type {
	case image.CharDevice, image.BlockDevice:
		line.Device = fmt.Sprintf("%d:%d", e.Major, e.Minor)
	case image.Symlink:
		s.service(e)
	case image.File:
		digest := sha256.New()
		if err := s.read(e, io.TeeReader(content, digest)); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		line.SHA256 = hex.EncodeToString(digest.Sum(nil))
	}
	for name, value := range e.Xattrs {
		if line.Xattrs == nil {
			line.Xattrs = map[string]string{}
		}
		line.Xattrs[name] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	return s.out.Encode(Line{Path: line})
}

// read reads a file to its end, and what is in it if it is one of those that
// the manifest describes.
func (s *scanner) read(e *image.Entry, content io.Reader) (err error) {
	switch e.Path {
	case "var/lib/dpkg/status":
		s.packages, err = readStatus(content)
	case "etc/passwd":
		s.accounts, err = guest.ReadAccounts(content)
	case "etc/group":
		s.groups, err = guest.ReadGroups(content)
	}
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{io.Discard}, content, s.buf)
	return err
}

// service notes the links that "systemctl enable" makes.
func (s *scanner) service(e *image.Entry) {
	dir, unit := path.Split(e.Path)
	dir, ok := strings.CutPrefix(dir, "etc/systemd/system/")
	if !ok {
		return
	}
	for _, suffix := range []string{".wants/", ".requires/"} {
		if by, ok := strings.CutSuffix(dir, suffix); ok && !strings.Contains(by, "/") {
			s.services = append(s.services, Service{Name: unit, By: by})
		}
	}
}

func (s *scanner) rest() error {
	slices.SortFunc(s.packages, func(a, b Package) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch)) })
	for i := range s.packages {
		if err := s.out.Encode(Line{Package: &s.packages[i]}); err != nil {
			return err
		}
	}
	slices.SortFunc(s.accounts, func(a, b guest.Account) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID)) })
	for _, a := range s.accounts {
		user := &User{Name: a.Name, UID: a.UID, GID: a.GID, Home: a.Home, Shell: a.Shell}
		for _, g := range s.groups {
			if slices.Contains(g.Members, a.Name) {
				user.Groups = append(user.Groups, g.Name)
			}
		}
		slices.Sort(user.Groups)
		if err := s.out.Encode(Line{User: user}); err != nil {
			return err
		}
	}
	slices.SortFunc(s.services, func(a, b Service) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.By, b.By)) })
	for i := range s.services {
		if err := s.out.Encode(Line{Service: &s.services[i]}); err != nil {
			return err
		}
	}
	return nil
}

// onlyWriter hides ReadFrom, so that the buffer given is used.
type onlyWriter struct{ io.Writer }
