package githubtest

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// download redirects from a published asset's address to where its bytes are.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inRepository(r) && !s.opts.Private {
		for _, each := range s.releases {
			if each.draft || each.tag != r.PathValue("tag") {
				continue
			}
			if a := s.assetNamed(each, r.PathValue("name")); a != nil && a.state == Uploaded {
				a.downloads++
				w.Header().Set("Location", s.blobURL(a))
				w.WriteHeader(http.StatusFound)
				return
			}
		}
	}
	http.Error(w, "Not Found", http.StatusNotFound)
}

// blob serves an asset's bytes, ranges too. It refuses a token, as storage
// with signed addresses does.
func (s *Server) blob(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		http.Error(w, "Only one auth mechanism is allowed", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	found := s.blobs[r.PathValue("key")]
	var a asset
	if found != nil {
		a = *found
	}
	s.mu.Unlock()
	if found == nil {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	if a.file == "" {
		http.Error(w, "this asset was too large to keep: raise KeepBytes", http.StatusGone)
		return
	}
	f, err := os.Open(a.file)
	if err != nil {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", "attachment; filename="+a.name)
	w.Header().Set("ETag", `"`+a.digest+`"`)
	http.ServeContent(w, r, "", a.updated, f)
}

// types are those that GitHub Pages gives files, which Vagrant looks at.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".json": "application/json; charset=utf-8",
	".txt":  "text/plain; charset=utf-8",
	".md":   "text/markdown; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "application/javascript; charset=utf-8",
	".xml":  "application/xml",
	".svg":  "image/svg+xml",
	".png":  "image/png",
}

// pages serves the branch that the site is made of.
func (s *Server) pages(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("path")
	if name == "" || strings.HasSuffix(name, "/") {
		name += "index.html"
	}
	kind := types[filepath.Ext(name)]
	if kind == "" {
		kind = "application/octet-stream"
	}
	s.file(w, r, s.opts.PagesBranch, name, kind)
}

// raw serves any file of any branch, tag or commit, always as plain text.
func (s *Server) raw(w http.ResponseWriter, r *http.Request) {
	rest := r.PathValue("rest")
	s.mu.Lock()
	ref, name := s.git.splitRef(rest)
	s.mu.Unlock()
	s.file(w, r, ref, name, "text/plain; charset=utf-8")
}

func (s *Server) file(w http.ResponseWriter, r *http.Request, ref, name, kind string) {
	s.mu.Lock()
	content, ok := s.git.file(ref, name)
	s.mu.Unlock()
	if !ok || !s.inRepository(r) {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, r, "", s.opts.Now(), strings.NewReader(content))
}

func (s *Server) inRepository(r *http.Request) bool {
	return r.PathValue("owner") == s.owner && r.PathValue("repo") == s.name
}
