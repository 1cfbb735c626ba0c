package githubtest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-github/v60/github"

	"github.com/org/imagebuild-action/internal/githubtest"
)

// client is the real go-github, which knows nothing of this server.
func client(t *testing.T, s *githubtest.Server, access githubtest.Access) *github.Client {
	t.Helper()
	c, err := github.NewClient(nil).WithAuthToken(s.Token(access)).WithEnterpriseURLs(s.APIURL(), s.URL()+"/api/uploads/")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReleaseOverGoGitHub(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	c := client(t, s, githubtest.Write)
	made, _, err := c.Repositories.CreateRelease(t.Context(), "octo", "images", &github.RepositoryRelease{
		TagName: github.String("v1.0.0"), Name: github.String("1.0.0"), Body: github.String("first"), Draft: github.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, response, err := c.Repositories.GetReleaseByTag(t.Context(), "octo", "images", "v1.0.0"); err == nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("a draft is found by its tag: %v", err)
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	asset, _, err := c.Repositories.UploadReleaseAsset(t.Context(), "octo", "images", made.GetID(), &github.UploadOptions{Name: "a b.box"}, f)
	if err != nil {
		t.Fatal(err)
	}
	if asset.GetName() != "a.b.box" || asset.GetState() != githubtest.Uploaded || asset.GetSize() != 5 {
		t.Errorf("%v", asset)
	}
	if _, _, err := c.Repositories.EditRelease(t.Context(), "octo", "images", made.GetID(), &github.RepositoryRelease{Draft: github.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	list, _, err := c.Repositories.ListReleases(t.Context(), "octo", "images", nil)
	if err != nil || len(list) != 1 || list[0].GetDraft() || len(list[0].Assets) != 1 {
		t.Errorf("%v %v", list, err)
	}
	latest, _, err := c.Repositories.GetLatestRelease(t.Context(), "octo", "images")
	if err != nil || latest.GetID() != made.GetID() {
		t.Errorf("%v %v", latest, err)
	}
	repository, _, err := c.Repositories.Get(t.Context(), "octo", "images")
	if err != nil || repository.GetDefaultBranch() != "main" {
		t.Error(err)
	}
	body, redirect, err := c.Repositories.DownloadReleaseAsset(t.Context(), "octo", "images", asset.GetID(), http.DefaultClient)
	if err != nil {
		t.Fatal(err, redirect)
	}
	_ = body.Close()
}

func TestGitDataOverGoGitHub(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	c := client(t, s, githubtest.Write)
	ref, _, err := c.Git.GetRef(t.Context(), "octo", "images", "heads/main")
	if err != nil {
		t.Fatal(err)
	}
	parent, _, err := c.Git.GetCommit(t.Context(), "octo", "images", ref.GetObject().GetSHA())
	if err != nil {
		t.Fatal(err)
	}
	tree, _, err := c.Git.CreateTree(t.Context(), "octo", "images", parent.GetTree().GetSHA(), []*github.TreeEntry{
		{Path: github.String("a/b.json"), Mode: github.String("100644"), Type: github.String("blob"), Content: github.String("{}\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	commit, _, err := c.Git.CreateCommit(t.Context(), "octo", "images", &github.Commit{Message: github.String("m"), Tree: tree, Parents: []*github.Commit{parent}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ref.Object.SHA = commit.SHA
	if _, _, err := c.Git.UpdateRef(t.Context(), "octo", "images", ref, false); err != nil {
		t.Fatal(err)
	}
	if files := s.Files("main"); files["a/b.json"] != "{}\n" || files["README.md"] == "" {
		t.Error(files)
	}
	file, _, _, err := c.Repositories.GetContents(t.Context(), "octo", "images", "a/b.json", &github.RepositoryContentGetOptions{Ref: "main"})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := file.GetContent(); err != nil || text != "{}\n" {
		t.Error(text, err)
	}
	list, _, err := c.Git.ListMatchingRefs(t.Context(), "octo", "images", &github.ReferenceListOptions{Ref: "heads/"})
	if err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	blob, _, err := c.Git.GetBlob(t.Context(), "octo", "images", file.GetSHA())
	if err != nil || blob.GetSize() != 3 {
		t.Error(blob, err)
	}
	whole, _, err := c.Git.GetTree(t.Context(), "octo", "images", "main", true)
	if err != nil || len(whole.Entries) != 3 {
		t.Error(whole, err)
	}
}
