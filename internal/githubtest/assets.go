package githubtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The states of an asset.
const (
	Uploaded = "uploaded"
	Starter  = "starter" // what an upload that broke leaves behind
)

type asset struct {
	id                       int64
	release                  int64
	name, label, contentType string
	state                    string
	size                     int64
	digest                   string // sha256 in hex
	file                     string // where the content is; empty if it was too large to keep
	key                      string // of the URL that serves it
	uploader                 Access
	created, updated         time.Time
	downloads                int
}

// uploadAsset takes the name at once, as a starter, and the bytes after that: a
// second upload of the name is refused while the first one runs.
func (s *Server) uploadAsset(c *call) *reply {
	if c.ContentLength <= 0 {
		return failure(http.StatusBadRequest, "Bad Content-Length")
	}
	if c.ContentLength >= s.opts.MaxAssetBytes {
		return failure(http.StatusUnprocessableEntity, "Validation Failed", object{
			"resource": "ReleaseAsset", "field": "size", "code": "custom", "message": fmt.Sprintf("size must be less than %d", s.opts.MaxAssetBytes),
		})
	}
	a, result := s.reserve(c)
	if result != nil {
		return result
	}
	body := io.Reader(c.Body)
	if c.fault != nil && c.fault.Effect == BrokenUpload {
		_, _ = io.CopyN(io.Discard, body, c.ContentLength/2)
		return nil
	}
	size, digest, file, err := s.store(a.key, body, c.ContentLength)
	if err != nil { // the client went away: what is there stays a starter
		return failure(http.StatusBadGateway, "Server Error")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assets[a.id] == nil { // deleted meanwhile
		return notFound()
	}
	a.state, a.size, a.digest, a.file, a.updated = Uploaded, size, digest, file, s.opts.Now().UTC().Truncate(time.Second)
	s.blobs[a.key] = a
	return answer(http.StatusCreated, s.showAsset(a))
}

func (s *Server) reserve(c *call) (*asset, *reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.releases[c.id("release_id")]
	if r == nil {
		return nil, notFound()
	}
	if r.immutable {
		return nil, immutable("ReleaseAsset")
	}
	name := sanitise(c.URL.Query().Get("name"))
	if name == "" {
		return nil, invalid("ReleaseAsset", "name", "missing_field")
	}
	if s.assetNamed(r, name) != nil {
		return nil, invalid("ReleaseAsset", "name", "already_exists")
	}
	if len(r.assets) >= s.opts.MaxAssets {
		return nil, failure(http.StatusUnprocessableEntity, "Validation Failed", object{
			"resource": "ReleaseAsset", "code": "custom", "message": fmt.Sprintf("a release cannot have more than %d assets", s.opts.MaxAssets),
		})
	}
	s.nextID++
	now := s.opts.Now().UTC().Truncate(time.Second)
	a := &asset{
		id: s.nextID, release: r.id, name: name, label: c.URL.Query().Get("label"), contentType: c.Header.Get("Content-Type"),
		state: Starter, uploader: c.access, created: now, updated: now, key: fmt.Sprintf("%d-%s", s.nextID, randomLooking(s.nextID)),
	}
	s.assets[a.id] = a
	r.assets = append(r.assets, a.id)
	s.announce()
	return a, nil
}

// store reads an upload into a file if it is small enough to keep.
func (s *Server) store(key string, body io.Reader, length int64) (size int64, digest, file string, err error) {
	hash := sha256.New()
	out := io.Writer(hash)
	if length <= s.opts.KeepBytes {
		file = filepath.Join(s.dir, key)
		f, err := os.Create(file)
		if err != nil {
			return 0, "", "", err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = io.MultiWriter(hash, f)
	}
	size, err = io.Copy(out, body)
	if err == nil && size != length {
		err = io.ErrUnexpectedEOF
	}
	return size, hex.EncodeToString(hash.Sum(nil)), file, err
}

var unwanted = regexp.MustCompile(`[^A-Za-z0-9._-]+[^A-Za-z0-9_-]*|\.[^A-Za-z0-9_.-]+[^A-Za-z0-9_-]*`)

// sanitise gives an asset the name that GitHub would.
func sanitise(name string) string {
	name = strings.TrimRight(unwanted.ReplaceAllString(name, "."), ".")
	if strings.HasPrefix(name, ".") {
		name = "default" + name
	}
	return name
}

func (s *Server) assetNamed(r *release, name string) *asset {
	for _, id := range r.assets {
		if a := s.assets[id]; a.name == name {
			return a
		}
	}
	return nil
}

// visible is the asset of the call, if its token may see it.
func (s *Server) visible(c *call) (*asset, *release) {
	a := s.assets[c.id("asset_id")]
	if a == nil {
		return nil, nil
	}
	r := s.releases[a.release]
	if r.draft && !c.access.canPush() {
		return nil, nil
	}
	return a, r
}

func (s *Server) listAssets(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.releases[c.id("release_id")]
	if r == nil || r.draft && !c.access.canPush() {
		return notFound()
	}
	part, link := page(c, s.apiURL("/releases/%d/assets", r.id), r.assets)
	result := answer(http.StatusOK, s.showAssets(part))
	result.header["Link"] = link
	return result
}

func (s *Server) getAsset(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, _ := s.visible(c)
	switch {
	case a == nil:
		return notFound()
	case !strings.Contains(c.Header.Get("Accept"), "application/octet-stream"):
		return answer(http.StatusOK, s.showAsset(a))
	case a.state != Uploaded:
		return notFound()
	}
	result := answer(http.StatusFound, nil)
	result.header.Set("Location", s.blobURL(a))
	return result
}

func (s *Server) updateAsset(c *call) *reply {
	var fields struct{ Name, Label, State *string }
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, r := s.visible(c)
	if a == nil {
		return notFound()
	}
	if r.immutable {
		return immutable("ReleaseAsset")
	}
	if fields.Name != nil {
		name := sanitise(*fields.Name)
		if other := s.assetNamed(r, name); other != nil && other != a {
			return invalid("ReleaseAsset", "name", "already_exists")
		}
		a.name = name
	}
	if fields.Label != nil {
		a.label = *fields.Label
	}
	return answer(http.StatusOK, s.showAsset(a))
}

func (s *Server) deleteAsset(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, r := s.visible(c)
	if a == nil {
		return notFound()
	}
	if r.immutable {
		return immutable("ReleaseAsset")
	}
	r.assets = slices.DeleteFunc(slices.Clone(r.assets), func(id int64) bool { return id == a.id })
	s.dropAsset(a.id)
	return answer(http.StatusNoContent, nil)
}

func (s *Server) dropAsset(id int64) {
	if a := s.assets[id]; a != nil {
		delete(s.blobs, a.key)
		delete(s.assets, id)
		if a.file != "" {
			_ = os.Remove(a.file)
		}
	}
}
