package githubtest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody is how many characters the text of a release can have.
const maxBody = 125_000

type release struct {
	id                           int64
	tag, target, name, body      string
	draft, prerelease, immutable bool
	makeLatest                   string
	created, published           time.Time
	author                       Access
	assets                       []int64
	lists, lag                   int  // list calls when it was created, and those to come without it
	settled                      bool // the list has caught up, because a test said so
}

// releaseFields are those of a request; nil means that it does not say.
type releaseFields struct {
	TagName         *string `json:"tag_name"`
	TargetCommitish *string `json:"target_commitish"`
	Name            *string `json:"name"`
	Body            *string `json:"body"`
	Draft           *bool   `json:"draft"`
	Prerelease      *bool   `json:"prerelease"`
	MakeLatest      *string `json:"make_latest"`
}

func (r *release) apply(f releaseFields) {
	for to, from := range map[*string]*string{&r.tag: f.TagName, &r.target: f.TargetCommitish, &r.name: f.Name, &r.body: f.Body, &r.makeLatest: f.MakeLatest} {
		if from != nil {
			*to = *from
		}
	}
	for to, from := range map[*bool]*bool{&r.draft: f.Draft, &r.prerelease: f.Prerelease} {
		if from != nil {
			*to = *from
		}
	}
}

func (s *Server) createRelease(c *call) *reply {
	var fields releaseFields
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.WorkflowChange != 0 && c.access.isJob() {
		if s.opts.WorkflowChange == http.StatusNotFound {
			return notFound()
		}
		return failure(s.opts.WorkflowChange, "Resource not accessible by integration")
	}
	now := s.opts.Now().UTC().Truncate(time.Second)
	r := &release{target: s.opts.DefaultBranch, created: now, author: c.access, lists: s.lists, makeLatest: "true"}
	r.apply(fields)
	if result := s.settle(r, true, now); result != nil {
		return result
	}
	s.nextID++
	r.id = s.nextID
	r.lag = s.opts.Lag.calls(r.id)
	s.releases[r.id] = r
	result := answer(http.StatusCreated, s.showRelease(r))
	result.header.Set("Location", s.apiURL("/releases/%d", r.id))
	return result
}

// settle checks a release as it would be stored, and makes what a publication
// makes: the tag, the date, the latest release.
func (s *Server) settle(r *release, publishes bool, now time.Time) *reply {
	if strings.TrimSpace(r.tag) == "" {
		return invalid("Release", "tag_name", "missing_field")
	}
	if len([]rune(r.body)) > maxBody {
		return failure(http.StatusUnprocessableEntity, "Validation Failed", object{
			"resource": "Release", "field": "body", "code": "custom", "message": fmt.Sprintf("body is too long (maximum is %d characters)", maxBody),
		})
	}
	tagRef := "refs/tags/" + r.tag
	commit, ok := s.git.resolve(r.target)
	if !ok && s.git.refs[tagRef] == "" {
		return invalid("Release", "target_commitish", "invalid")
	}
	if r.draft {
		return nil
	}
	for _, each := range s.releases {
		if each.id != r.id && !each.draft && each.tag == r.tag {
			return invalid("Release", "tag_name", "already_exists")
		}
	}
	if !publishes {
		return nil
	}
	if s.git.refs[tagRef] == "" {
		s.git.refs[tagRef] = commit
	}
	r.published, r.immutable = now, s.opts.Immutable
	return nil
}

func (s *Server) getRelease(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.releases[c.id("release_id")]
	if r == nil || r.draft && !c.access.canPush() {
		return notFound()
	}
	return answer(http.StatusOK, s.showRelease(r))
}

func (s *Server) getReleaseByTag(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.releases {
		if !r.draft && r.tag == c.PathValue("tag") {
			return answer(http.StatusOK, s.showRelease(r))
		}
	}
	return notFound()
}

func (s *Server) getLatest(*call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.latestRelease()
	if r == nil {
		return notFound()
	}
	return answer(http.StatusOK, s.showRelease(r))
}

// latestRelease is the one that says so, else the newest that does not
// decline.
func (s *Server) latestRelease() *release {
	if r := s.releases[s.latest]; r != nil && !r.draft && !r.prerelease {
		return r
	}
	var newest *release
	for _, r := range s.releases {
		if r.draft || r.prerelease || r.makeLatest == "false" {
			continue
		}
		if newest == nil || newest.published.Before(r.published) || newest.published.Equal(r.published) && newest.id < r.id {
			newest = r
		}
	}
	return newest
}

func (s *Server) listReleases(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	var seen []*release
	for _, r := range s.releases {
		if (!r.draft || c.access.canPush()) && s.listed(r) {
			seen = append(seen, r)
		}
	}
	slices.SortFunc(seen, func(a, b *release) int { return cmp.Compare(b.id, a.id) }) // newest first
	part, link := page(c, s.apiURL("/releases"), seen)
	shown := make([]object, 0, len(part))
	for _, r := range part {
		shown = append(shown, s.showRelease(r))
	}
	result := answer(http.StatusOK, shown)
	result.header["Link"] = link
	return result
}

// listed says whether the list has caught up with a release.
func (s *Server) listed(r *release) bool {
	return r.settled || s.lists > r.lists+r.lag && !s.opts.Now().Before(r.created.Add(s.opts.Lag.Time))
}

func (s *Server) updateRelease(c *call) *reply {
	var fields releaseFields
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.releases[c.id("release_id")]
	if r == nil {
		return notFound()
	}
	if r.immutable {
		return immutable("Release")
	}
	changed := *r
	changed.apply(fields)
	if result := s.settle(&changed, r.draft && !changed.draft, s.opts.Now().UTC().Truncate(time.Second)); result != nil {
		return result
	}
	if changed.draft {
		changed.published = time.Time{}
	}
	*r = changed
	if !r.draft && !r.prerelease && r.makeLatest == "true" && (fields.MakeLatest != nil || fields.Draft != nil) {
		s.latest = r.id
	}
	return answer(http.StatusOK, s.showRelease(r))
}

func (s *Server) deleteRelease(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.releases[c.id("release_id")]
	if r == nil {
		return notFound()
	}
	if r.immutable {
		return immutable("Release")
	}
	for _, id := range r.assets {
		s.dropAsset(id)
	}
	delete(s.releases, r.id)
	return answer(http.StatusNoContent, nil)
}

// immutable refuses a change after publication. GitHub itself still lets title
// and notes be edited; a client that needs neither is safe with both.
func immutable(resource string) *reply {
	return failure(http.StatusUnprocessableEntity, "Validation Failed", object{
		"resource": resource, "code": "custom", "message": "Cannot change an immutable release",
	})
}

// page cuts a list by the query's page and per_page, and links to the others.
func page[E any](c *call, address string, all []E) ([]E, []string) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(c.URL.Query().Get(name)); err == nil && n > 0 {
			return n
		}
		return otherwise
	}
	size, at := min(number("per_page", 30), 100), number("page", 1)
	last := max((len(all)+size-1)/size, 1)
	var links []string
	link := func(to int, rel string) {
		links = append(links, fmt.Sprintf("<%s?per_page=%d&page=%d>; rel=%q", address, size, to, rel))
	}
	if at > 1 {
		link(at-1, "prev")
		link(1, "first")
	}
	if at < last {
		link(at+1, "next")
		link(last, "last")
	}
	from := min((at-1)*size, len(all))
	part := all[from:min(from+size, len(all))]
	if links == nil {
		return part, nil
	}
	return part, []string{strings.Join(links, ", ")}
}

// calls is how many list calls miss a release.
func (l Lag) calls(id int64) int {
	if l.Seed == "" || l.Calls == 0 {
		return l.Calls
	}
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %d", l.Seed, id))
	return int(binary.BigEndian.Uint64(digest[:]) % uint64(l.Calls+1))
}
