package githubtest

import (
	"encoding/base64"
	"net/http"
	"path"
	"strings"
)

// rawType begins the content type of a file that was asked for as it is.
const rawType = "application/vnd.github.raw"

// maxContent is up to what size, in bytes, the contents API tells the content.
const maxContent = 1 << 20

func (s *Server) showRef(name, sha string) object {
	return object{
		"ref": name, "node_id": "REF_" + sha, "url": s.apiURL("/git/%s", name),
		"object": object{"sha": sha, "type": "commit", "url": s.apiURL("/git/commits/%s", sha)},
	}
}

func (s *Server) showCommit(sha string) object {
	made, _ := s.git.commit(sha)
	parents := []object{}
	for _, parent := range made.parents {
		parents = append(parents, object{"sha": parent, "url": s.apiURL("/git/commits/%s", parent), "html_url": s.webURL("/commit/%s", parent)})
	}
	return object{
		"sha": sha, "node_id": "C_" + sha, "url": s.apiURL("/git/commits/%s", sha), "html_url": s.webURL("/commit/%s", sha),
		"author": made.author, "committer": made.committer, "message": made.message, "parents": parents,
		"tree":         object{"sha": made.tree, "url": s.apiURL("/git/trees/%s", made.tree)},
		"verification": object{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil},
	}
}

func (s *Server) showTree(sha string, recursive bool) object {
	list := []object{}
	var walk func(tree, prefix string)
	walk = func(tree, prefix string) {
		for _, e := range s.git.trees[tree] {
			kind, address := "blob", s.apiURL("/git/blobs/%s", e.sha)
			if e.mode == modeTree {
				kind, address = "tree", s.apiURL("/git/trees/%s", e.sha)
			}
			shown := object{"path": prefix + e.name, "mode": e.mode, "type": kind, "sha": e.sha, "url": address}
			if kind == "blob" {
				shown["size"] = len(s.git.blobs[e.sha])
			}
			list = append(list, shown)
			if recursive && kind == "tree" {
				walk(e.sha, prefix+e.name+"/")
			}
		}
	}
	walk(sha, "")
	return object{"sha": sha, "url": s.apiURL("/git/trees/%s", sha), "truncated": false, "tree": list}
}

// getContents knows files only; a folder is not found.
func (s *Server) getContents(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	ref := c.URL.Query().Get("ref")
	if ref == "" {
		ref = s.opts.DefaultBranch
	}
	name := c.PathValue("path")
	content, ok := s.git.file(ref, name)
	if !ok {
		return notFound()
	}
	if strings.Contains(c.Header.Get("Accept"), ".raw") {
		result := answer(http.StatusOK, nil)
		result.content = []byte(content)
		result.header.Set("Content-Type", rawType+"+json; charset=utf-8")
		return result
	}
	sha := hash("blob", content)
	encoding, encoded := "base64", base64.StdEncoding.EncodeToString([]byte(content))
	if len(content) > maxContent {
		encoding, encoded = "none", ""
	}
	self, web, git := s.apiURL("/contents/%s?ref=%s", name, ref), s.webURL("/blob/%s/%s", ref, name), s.apiURL("/git/blobs/%s", sha)
	return answer(http.StatusOK, object{
		"type": "file", "encoding": encoding, "content": encoded, "size": len(content), "name": path.Base(name), "path": name, "sha": sha,
		"url": self, "html_url": web, "git_url": git, "download_url": s.RawURL(ref) + "/" + name,
		"_links": object{"self": self, "html": web, "git": git},
	})
}
