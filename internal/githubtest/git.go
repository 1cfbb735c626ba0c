package githubtest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

func (s *Server) getRef(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := "refs/" + c.PathValue("ref")
	sha := s.git.refs[name]
	if sha == "" {
		return notFound()
	}
	return answer(http.StatusOK, s.showRef(name, sha))
}

func (s *Server) matchingRefs(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := []object{}
	for _, name := range slices.Sorted(maps.Keys(s.git.refs)) {
		if strings.HasPrefix(name, "refs/"+c.PathValue("ref")) {
			shown = append(shown, s.showRef(name, s.git.refs[name]))
		}
	}
	return answer(http.StatusOK, shown)
}

func (s *Server) createRef(c *call) *reply {
	var fields struct{ Ref, SHA string }
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !strings.HasPrefix(fields.Ref, "refs/") || strings.Count(fields.Ref, "/") < 2:
		return failure(http.StatusUnprocessableEntity, "Reference name must start with 'refs/' and have at least two slashes.")
	case s.git.commits[fields.SHA].tree == "":
		return failure(http.StatusUnprocessableEntity, "Object does not exist")
	case s.git.refs[fields.Ref] != "":
		return failure(http.StatusUnprocessableEntity, "Reference already exists")
	}
	s.git.refs[fields.Ref] = fields.SHA
	return answer(http.StatusCreated, s.showRef(fields.Ref, fields.SHA))
}

func (s *Server) updateRef(c *call) *reply {
	var fields struct {
		SHA   string
		Force bool
	}
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := "refs/" + c.PathValue("ref")
	switch {
	case s.git.refs[name] == "":
		return failure(http.StatusUnprocessableEntity, "Reference does not exist")
	case s.git.commits[fields.SHA].tree == "":
		return failure(http.StatusUnprocessableEntity, "Object does not exist")
	case !fields.Force && !s.git.descends(fields.SHA, s.git.refs[name]):
		return failure(http.StatusUnprocessableEntity, "Update is not a fast forward")
	}
	s.git.refs[name] = fields.SHA
	return answer(http.StatusOK, s.showRef(name, fields.SHA))
}

func (s *Server) deleteRef(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := "refs/" + c.PathValue("ref")
	if s.git.refs[name] == "" {
		return failure(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	for _, r := range s.releases {
		if r.immutable && name == "refs/tags/"+r.tag {
			return immutable("Release")
		}
	}
	delete(s.git.refs, name)
	return answer(http.StatusNoContent, nil)
}

func (s *Server) createBlob(c *call) *reply {
	var fields struct{ Content, Encoding string }
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	if fields.Encoding == "base64" {
		plain, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(fields.Content, "\n", ""))
		if err != nil {
			return failure(http.StatusUnprocessableEntity, "content is not valid Base64")
		}
		fields.Content = string(plain)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sha := s.git.addBlob(fields.Content)
	return answer(http.StatusCreated, object{"sha": sha, "url": s.apiURL("/git/blobs/%s", sha)})
}

func (s *Server) getBlob(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	sha := c.PathValue("file_sha")
	content, ok := s.git.blobs[sha]
	if !ok {
		return notFound()
	}
	return answer(http.StatusOK, object{
		"sha": sha, "node_id": "B_" + sha, "url": s.apiURL("/git/blobs/%s", sha), "size": len(content),
		"encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(content)),
	})
}

func (s *Server) createCommit(c *call) *reply {
	var fields struct {
		Message, Tree     string
		Parents           []string
		Author, Committer *person
	}
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.git.trees[fields.Tree] == nil {
		return failure(http.StatusUnprocessableEntity, "Tree SHA does not exist")
	}
	for _, parent := range fields.Parents {
		if s.git.commits[parent].tree == "" {
			return failure(http.StatusUnprocessableEntity, "Parent SHA does not exist or is not a commit object")
		}
	}
	who := person{Name: "github-actions[bot]", Email: "41898282+github-actions[bot]@users.noreply.github.com"}
	made := commit{tree: fields.Tree, message: fields.Message, parents: fields.Parents, author: *cmp.Or(fields.Author, &who)}
	made.committer = *cmp.Or(fields.Committer, &made.author)
	for _, each := range []*person{&made.author, &made.committer} {
		if each.Date.IsZero() {
			each.Date = s.opts.Now()
		}
		each.Date = each.Date.UTC().Truncate(time.Second)
	}
	return answer(http.StatusCreated, s.showCommit(s.git.addCommit(made)))
}

func (s *Server) getCommit(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.git.commit(c.PathValue("commit_sha")); !ok {
		return notFound()
	}
	return answer(http.StatusOK, s.showCommit(c.PathValue("commit_sha")))
}

// createTree changes a tree's files: content or an object for a path, null
// removes it. A path that names a folder stands for all that is below it.
func (s *Server) createTree(c *call) *reply {
	var fields struct {
		BaseTree string `json:"base_tree"`
		Tree     []struct {
			Path, Mode, Type string
			SHA, Content     *string
		}
	}
	if err := json.Unmarshal(c.body, &fields); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	leaves := map[string]leaf{}
	if fields.BaseTree != "" {
		base := fields.BaseTree
		if made, ok := s.git.commit(base); ok { // GitHub takes a commit here too
			base = made.tree
		}
		if s.git.trees[base] == nil {
			return failure(http.StatusUnprocessableEntity, "base_tree is not a valid tree oid")
		}
		s.git.flatten(base, "", leaves)
	}
	for _, e := range fields.Tree {
		if e.Path == "" || strings.HasPrefix(e.Path, "/") || strings.Contains(e.Path, "//") || strings.Contains("/"+e.Path+"/", "/../") {
			return failure(http.StatusUnprocessableEntity, "tree.path contains a malformed path component")
		}
		maps.DeleteFunc(leaves, func(path string, _ leaf) bool { return path == e.Path || strings.HasPrefix(path, e.Path+"/") })
		switch {
		case e.Content != nil:
			leaves[e.Path] = leaf{cmp.Or(e.Mode, modeFile), s.git.addBlob(*e.Content)}
		case e.SHA == nil: // removed
		case s.git.trees[*e.SHA] != nil && e.Mode == modeTree:
			s.git.flatten(*e.SHA, e.Path+"/", leaves)
		default:
			if _, ok := s.git.blobs[*e.SHA]; !ok {
				return failure(http.StatusUnprocessableEntity, fmt.Sprintf("tree.sha %s is not a valid blob", *e.SHA))
			}
			leaves[e.Path] = leaf{cmp.Or(e.Mode, modeFile), *e.SHA}
		}
	}
	return answer(http.StatusCreated, s.showTree(s.git.build(leaves), false))
}

func (s *Server) getTree(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	sha := c.PathValue("tree_sha")
	if at, ok := s.git.resolve(sha); ok {
		sha = s.git.commits[at].tree
	}
	if s.git.trees[sha] == nil {
		return notFound()
	}
	return answer(http.StatusOK, s.showTree(sha, c.URL.Query().Get("recursive") != ""))
}
