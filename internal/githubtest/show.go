package githubtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// apiURL is an address below the repository's.
func (s *Server) apiURL(format string, args ...any) string {
	return s.APIURL() + "/repos/" + s.opts.Repository + fmt.Sprintf(format, args...)
}

func (s *Server) webURL(format string, args ...any) string {
	return s.URL() + "/" + s.opts.Repository + fmt.Sprintf(format, args...)
}

// blobURL is on another host, as GitHub's is: whoever sends it the token is
// refused.
func (s *Server) blobURL(a *asset) string {
	return strings.Replace(s.URL(), "127.0.0.1", "localhost", 1) + "/blob/" + a.key
}

func (s *Server) showRelease(r *release) object {
	shown := object{
		"url": s.apiURL("/releases/%d", r.id), "assets_url": s.apiURL("/releases/%d/assets", r.id),
		"upload_url": fmt.Sprintf("%s/api/uploads/repos/%s/releases/%d/assets{?name,label}", s.URL(), s.opts.Repository, r.id),
		"html_url":   s.webURL("/releases/tag/%s", s.publicTag(r)), "id": r.id, "node_id": fmt.Sprintf("RE_%d", r.id), "tag_name": r.tag,
		"target_commitish": r.target, "name": r.name, "body": r.body, "draft": r.draft, "prerelease": r.prerelease, "immutable": r.immutable,
		"created_at": r.created.Format(time.RFC3339), "published_at": nil, "author": s.showUser(r.author), "assets": s.showAssets(r.assets),
		"tarball_url": nil, "zipball_url": nil,
	}
	if !r.draft {
		shown["published_at"] = r.published.Format(time.RFC3339)
		shown["tarball_url"], shown["zipball_url"] = s.apiURL("/tarball/%s", r.tag), s.apiURL("/zipball/%s", r.tag)
	}
	return shown
}

// publicTag is how the web names a release: a draft's tag is not public yet.
func (s *Server) publicTag(r *release) string {
	if r.draft {
		return "untagged-" + randomLooking(r.id)
	}
	return url.PathEscape(r.tag)
}

func (s *Server) showAssets(ids []int64) []object {
	shown := make([]object, 0, len(ids))
	for _, id := range ids {
		shown = append(shown, s.showAsset(s.assets[id]))
	}
	return shown
}

func (s *Server) showAsset(a *asset) object {
	shown := object{
		"url": s.apiURL("/releases/assets/%d", a.id), "id": a.id, "node_id": fmt.Sprintf("RA_%d", a.id), "name": a.name, "label": a.label,
		"content_type": a.contentType, "state": a.state, "size": a.size, "digest": nil, "download_count": a.downloads, "uploader": s.showUser(a.uploader),
		"created_at": a.created.Format(time.RFC3339), "updated_at": a.updated.Format(time.RFC3339),
		"browser_download_url": s.webURL("/releases/download/%s/%s", s.publicTag(s.releases[a.release]), a.name),
	}
	if a.state == Uploaded {
		shown["digest"] = "sha256:" + a.digest
	}
	return shown
}

func (s *Server) showUser(a Access) object {
	login, id, kind := "github-actions[bot]", 41898282, "Bot"
	if !a.isJob() {
		login, id, kind = "octocat", 583231, "User"
	}
	return s.user(login, id, kind)
}

func (s *Server) user(login string, id int, kind string) object {
	api := s.APIURL() + "/users/" + url.PathEscape(login)
	return object{
		"login": login, "id": id, "node_id": fmt.Sprintf("U_%d", id), "avatar_url": s.URL() + "/avatars/" + fmt.Sprint(id), "gravatar_id": "",
		"url": api, "html_url": s.URL() + "/" + url.PathEscape(login), "followers_url": api + "/followers", "following_url": api + "/following{/other_user}",
		"gists_url": api + "/gists{/gist_id}", "starred_url": api + "/starred{/owner}{/repo}", "subscriptions_url": api + "/subscriptions",
		"organizations_url": api + "/orgs", "repos_url": api + "/repos", "events_url": api + "/events{/privacy}", "received_events_url": api + "/received_events",
		"type": kind, "site_admin": false,
	}
}

// randomLooking is a name that a client cannot guess, and a test can repeat.
func randomLooking(id int64) string {
	digest := sha256.Sum256(fmt.Appendf(nil, "githubtest %d", id))
	return hex.EncodeToString(digest[:10])
}
