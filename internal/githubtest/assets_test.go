package githubtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/githubtest"
)

func TestNames(t *testing.T) {
	for given, want := range map[string]string{
		"a-1.0_x.box": "a-1.0_x.box", "a%20b.box": "a.b.box", "a%20%28b%29.box": "a.b.box", "a.%20b": "a.b", "a..b": "a..b", "%C3%A4.box": "default.box", "1.0.0%2Babc.json": "1.0.0.abc.json", "x%20": "x",
	} {
		_, c := newServer(t, githubtest.Options{})
		_, upload := c.draft("v1")
		asset := c.must(201, "POST", upload+"?name="+given, "x")
		if asset["name"] != want {
			t.Errorf("%s is named %v", given, asset["name"])
		}
	}
}

func TestAssetsLife(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	path, upload := c.draft("v1")
	one := c.must(201, "POST", upload+"?name=a.box&label=A", "hello")
	if one["digest"] != "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" || one["state"] != "uploaded" || one["size"] != 5.0 || one["label"] != "A" {
		t.Error(one)
	}
	if uploader, _ := one["uploader"].(object); uploader["login"] != "github-actions[bot]" {
		t.Error(uploader)
	}
	refused := c.must(422, "POST", upload+"?name=a.box", "again")
	if !strings.Contains(fmt.Sprint(refused["errors"]), "already_exists") {
		t.Error(refused)
	}
	c.must(400, "POST", upload+"?name=empty", nil)
	two := c.must(201, "POST", upload+"?name=b.box", "two")
	address := fmt.Sprintf("/releases/assets/%.0f", two["id"])
	c.must(422, "PATCH", address, object{"name": "a.box"})
	if renamed := c.must(200, "PATCH", address, object{"name": "c.box", "label": "C"}); renamed["name"] != "c.box" || renamed["label"] != "C" {
		t.Error(renamed)
	}
	if list := c.list(path + "/assets?per_page=1&page=2"); len(list) != 1 || list[0].(object)["name"] != "c.box" {
		t.Error(list)
	}
	c.must(204, "DELETE", address, nil)
	c.must(404, "DELETE", address, nil)
	c.must(404, "GET", address, nil)
	raw{t, s, githubtest.Read}.must(404, "GET", fmt.Sprintf("/releases/assets/%.0f", one["id"]), nil)
	all := s.Releases()[0].Assets
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	if content, err := all[0].Content(); err != nil || string(content) != "hello" {
		t.Errorf("%q %v", content, err)
	}
	c.must(204, "DELETE", path, nil)
	if _, err := all[0].Content(); err == nil {
		t.Error("the content outlives its release")
	}
}

func TestSizeLimits(t *testing.T) {
	s, c := newServer(t, githubtest.Options{MaxAssetBytes: 100, KeepBytes: 10})
	_, upload := c.draft("v1")
	c.must(422, "POST", upload+"?name=a", strings.Repeat("x", 100))
	c.must(201, "POST", upload+"?name=b", strings.Repeat("x", 99))
	all := s.Releases()[0].Assets
	if len(all) != 1 || all[0].SizeBytes != 99 || len(all[0].SHA256) != 64 {
		t.Errorf("%+v", all)
	}
	if _, err := all[0].Content(); err == nil {
		t.Error("more was kept than KeepBytes")
	}
}

// response is an answer that has been read.
type response struct {
	*http.Response
	content string
}

// get asks like a downloader, without a token, and follows nothing.
func get(t *testing.T, method, address string, header ...string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := noRedirect.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp, string(content)}
}

func TestDownload(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	path, upload := c.draft("v1")
	asset := c.must(201, "POST", upload+"?name=a.box", "hello")
	address := s.URL() + "/octo/images/releases/download/v1/a.box"
	if resp := get(t, "GET", address); resp.StatusCode != http.StatusNotFound {
		t.Error("a draft's asset is public:", resp.Status)
	}
	c.must(200, "PATCH", path, object{"draft": false})
	if shown := c.must(200, "GET", fmt.Sprintf("/releases/assets/%.0f", asset["id"]), nil)["browser_download_url"]; shown != address {
		t.Error(shown)
	}
	for _, method := range []string{"GET", "HEAD"} {
		resp := get(t, method, address)
		if resp.StatusCode != http.StatusFound {
			t.Fatal(method, resp.Status)
		}
		blob := resp.Header.Get("Location")
		if !strings.HasPrefix(blob, "http://localhost:") {
			t.Error(blob)
		}
		resp = get(t, method, blob)
		if resp.Header.Get("Content-Type") != "application/octet-stream" || resp.ContentLength != 5 || method == "GET" && resp.content != "hello" {
			t.Error(method, resp.Header, resp.content)
		}
		resp = get(t, method, blob, "Range", "bytes=3-")
		if resp.StatusCode != http.StatusPartialContent || method == "GET" && resp.content != "lo" {
			t.Error(method, resp.Status, resp.content)
		}
		if resp = get(t, method, blob, "Authorization", "Bearer "+s.Token(githubtest.Write)); resp.StatusCode != http.StatusBadRequest {
			t.Error("storage took a token:", resp.Status)
		}
	}
	resp := get(t, "GET", s.APIURL()+fmt.Sprintf("/repos/octo/images/releases/assets/%.0f", asset["id"]), "Accept", "application/octet-stream", "User-Agent", "test")
	if resp.StatusCode != http.StatusFound {
		t.Error(resp.Status)
	}
	if s.Releases()[0].Assets[0].Downloads != 2 {
		t.Error(s.Releases()[0].Assets[0].Downloads)
	}
}

func TestSite(t *testing.T) {
	s, c := newServer(t, githubtest.Options{})
	c.must(404, "GET", "/pages", nil)
	s.Commit("gh-pages", map[string]string{"golden.json": "{}", "index.html": "<p>", "sub/a.box": "x"})
	s.Commit("feature/x", map[string]string{"dir/golden.json": "{}"})
	if shown := c.must(200, "GET", "/pages", nil)["html_url"]; shown != s.PagesURL()+"/" {
		t.Error(shown)
	}
	if c.must(200, "GET", "", nil)["has_pages"] != true {
		t.Error("has_pages")
	}
	for address, want := range map[string]string{
		s.PagesURL() + "/golden.json":                 "application/json; charset=utf-8",
		s.PagesURL() + "/":                            "text/html; charset=utf-8",
		s.PagesURL() + "/sub/a.box":                   "application/octet-stream",
		s.RawURL("feature/x") + "/dir/golden.json":    "text/plain; charset=utf-8",
		s.RawURL("gh-pages") + "/golden.json":         "text/plain; charset=utf-8",
		s.PagesURL() + "/README.md":                   "",
		s.URL() + "/pages/octo/others/golden.json":    "",
		s.URL() + "/raw/octo/images/gone/golden.json": "",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			resp := get(t, method, address)
			if want == "" && resp.StatusCode != 404 || want != "" && (resp.StatusCode != 200 || resp.Header.Get("Content-Type") != want) {
				t.Error(method, address, resp.Status, resp.Header)
			}
		}
	}
}
