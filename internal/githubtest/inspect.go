package githubtest

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"
)

// Release is a release as it is stored, draft or not.
type Release struct {
	ID                           int64
	Tag, Target, Name, Body      string
	Draft, Prerelease, Immutable bool
	Latest                       bool
	Published                    time.Time
	Assets                       []Asset // in the order of their upload
}

// Asset is a release's file as it is stored.
type Asset struct {
	ID          int64
	Name        string
	ContentType string
	State       string // Uploaded or Starter
	SizeBytes   int64
	SHA256      string // in hex; empty for a starter
	Downloads   int
	path        string
}

// Content is the asset's bytes, if they were few enough to keep.
func (a Asset) Content() ([]byte, error) {
	if a.path == "" {
		return nil, fmt.Errorf("asset %s: its content was not kept", a.Name)
	}
	return os.ReadFile(a.path)
}

// Releases are all releases, drafts too, in the order of their creation,
// whether the list has caught up with them or not.
func (s *Server) Releases() []Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := s.latestRelease()
	all := make([]Release, 0, len(s.releases))
	for _, r := range s.releases {
		shown := Release{
			ID: r.id, Tag: r.tag, Target: r.target, Name: r.name, Body: r.body, Draft: r.draft, Prerelease: r.prerelease,
			Immutable: r.immutable, Published: r.published, Latest: r == latest,
		}
		for _, id := range r.assets {
			a := s.assets[id]
			shown.Assets = append(shown.Assets, Asset{
				ID: a.id, Name: a.name, ContentType: a.contentType, State: a.state, SizeBytes: a.size, SHA256: a.digest, Downloads: a.downloads, path: a.file,
			})
		}
		all = append(all, shown)
	}
	slices.SortFunc(all, func(a, b Release) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Settle lets the list catch up with all that was created so far.
func (s *Server) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.releases {
		r.settled = true
	}
}

// Commit puts files onto a branch, which it makes if there is none, and
// returns the commit. The files of the branch that it does not name stay.
func (s *Server) Commit(branch string, files map[string]string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.git.commitFiles("refs/heads/"+branch, files, "Change", s.opts.Now())
}

// Files are all the files of a branch, tag or commit by path.
func (s *Server) Files(ref string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.git.files(ref)
}

// Log is the commits of a branch, newest first, by first parent.
func (s *Server) Log(ref string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for at, ok := s.git.resolve(ref); ok && at != ""; {
		list = append(list, at)
		commit, _ := s.git.commit(at)
		at = ""
		if len(commit.parents) > 0 {
			at = commit.parents[0]
		}
	}
	return list
}

// Refs are all refs by their full name.
func (s *Server) Refs() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	refs := map[string]string{}
	for name, sha := range s.git.refs {
		refs[name] = sha
	}
	return refs
}
