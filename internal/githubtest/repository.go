package githubtest

import (
	"net/http"
	"strings"
	"time"
)

func (s *Server) getRepository(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	date := s.opts.Now().UTC().Format(time.RFC3339)
	shown := object{
		"id": 1296269, "node_id": "R_1296269", "name": s.name, "full_name": s.opts.Repository, "owner": s.user(s.owner, 1, "Organization"),
		"private": s.opts.Private, "description": nil, "fork": false, "homepage": nil, "language": nil, "license": nil, "mirror_url": nil,
		"default_branch": s.opts.DefaultBranch, "has_pages": s.hasPages(), "visibility": "public",
		"created_at": date, "updated_at": date, "pushed_at": date, "permissions": c.access.permissions(),
		"url": s.apiURL(""), "html_url": s.webURL(""), "clone_url": s.webURL(".git"), "svn_url": s.webURL(""),
		"git_url": "git://github.com/" + s.opts.Repository + ".git", "ssh_url": "git@github.com:" + s.opts.Repository + ".git",
	}
	if s.opts.Private {
		shown["visibility"] = "private"
	}
	for _, each := range []string{
		"archive_url /{archive_format}{/ref}", "assignees_url /assignees{/user}", "blobs_url /git/blobs{/sha}", "branches_url /branches{/branch}",
		"collaborators_url /collaborators{/collaborator}", "comments_url /comments{/number}", "commits_url /commits{/sha}", "compare_url /compare/{base}...{head}",
		"contents_url /contents/{+path}", "contributors_url /contributors", "deployments_url /deployments", "downloads_url /downloads", "events_url /events",
		"forks_url /forks", "git_commits_url /git/commits{/sha}", "git_refs_url /git/refs{/sha}", "git_tags_url /git/tags{/sha}", "hooks_url /hooks",
		"issue_comment_url /issues/comments{/number}", "issue_events_url /issues/events{/number}", "issues_url /issues{/number}", "keys_url /keys{/key_id}",
		"labels_url /labels{/name}", "languages_url /languages", "merges_url /merges", "milestones_url /milestones{/number}",
		"notifications_url /notifications{?since,all,participating}", "pulls_url /pulls{/number}", "releases_url /releases{/id}", "stargazers_url /stargazers",
		"statuses_url /statuses/{sha}", "subscribers_url /subscribers", "subscription_url /subscription", "tags_url /tags", "teams_url /teams",
		"trees_url /git/trees{/sha}",
	} {
		key, path, _ := strings.Cut(each, " ")
		shown[key] = s.apiURL("") + path
	}
	for _, each := range []string{
		"forks", "forks_count", "open_issues", "open_issues_count", "size", "stargazers_count", "watchers", "watchers_count", "network_count", "subscribers_count",
	} {
		shown[each] = 0
	}
	for _, each := range []string{"has_issues", "has_projects", "has_wiki", "has_discussions", "has_downloads", "archived", "disabled"} {
		shown[each] = false
	}
	return answer(http.StatusOK, shown)
}

func (s *Server) hasPages() bool { return s.git.refs["refs/heads/"+s.opts.PagesBranch] != "" }

func (s *Server) getPages(*call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasPages() {
		return notFound()
	}
	return answer(http.StatusOK, object{
		"url": s.apiURL("/pages"), "status": "built", "cname": nil, "custom_404": false, "public": true, "build_type": "legacy",
		"html_url": s.PagesURL() + "/", "https_enforced": true, "source": object{"branch": s.opts.PagesBranch, "path": "/"},
	})
}
