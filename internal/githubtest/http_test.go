package githubtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/org/imagebuild-action/internal/githubtest"
)

// raw speaks HTTP to a server, as somebody with no library would.
type raw struct {
	t      *testing.T
	s      *githubtest.Server
	access githubtest.Access
}

// object is an answer's JSON; "list" holds it if it is a list.
type object = map[string]any

// noRedirect keeps the 302s.
var noRedirect = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// do sends body, a string as it is and anything else as JSON.
func (c raw) do(method, address string, body any) (*http.Response, object) {
	c.t.Helper()
	var content io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		content = bytes.NewReader(encoded)
	}
	if !strings.HasPrefix(address, "http") {
		address = c.s.APIURL() + "/repos/octo/images" + address
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, address, content)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.access != "" {
		req.Header.Set("Authorization", "token "+c.s.Token(c.access))
	}
	req.Header.Set("User-Agent", "test")
	req.Header.Set("Content-Type", "application/json")
	resp, err := noRedirect.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := object{}
	var any any
	if read, err := io.ReadAll(resp.Body); err != nil {
		c.t.Fatal(err)
	} else if json.Unmarshal(read, &any) == nil {
		if decoded, ok := any.(object); ok {
			answer = decoded
		} else {
			answer["list"] = any
		}
	} else {
		answer["text"] = string(read)
	}
	return resp, answer
}

// must is do with the status that is expected.
func (c raw) must(status int, method, address string, body any) object {
	c.t.Helper()
	resp, answer := c.do(method, address, body)
	if resp.StatusCode != status {
		c.t.Fatalf("%s %s: %d, not %d: %v", method, address, resp.StatusCode, status, answer)
	}
	return answer
}

func (c raw) list(address string) []any {
	c.t.Helper()
	items, _ := c.must(http.StatusOK, http.MethodGet, address, nil)["list"].([]any)
	return items
}

// draft makes a release and returns its address below the repository's.
func (c raw) draft(tag string) (path, upload string) {
	c.t.Helper()
	made := c.must(http.StatusCreated, http.MethodPost, "/releases", object{"tag_name": tag, "draft": true})
	upload, _, _ = strings.Cut(made["upload_url"].(string), "{")
	return fmt.Sprintf("/releases/%.0f", made["id"]), upload
}

func newServer(t *testing.T, opts githubtest.Options) (*githubtest.Server, raw) {
	t.Helper()
	s := githubtest.New(t, opts)
	return s, raw{t, s, githubtest.Write}
}

// witness is a T that takes failures down instead of failing.
type witness struct {
	*testing.T
	mu     sync.Mutex
	errors []string
}

func (w *witness) Errorf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors = append(w.errors, fmt.Sprintf(format, args...))
}

func TestWhatTheDescriptionForbids(t *testing.T) {
	tests := []struct {
		name, method, path string
		body               any
		status             int
		says               string
	}{
		{"field of another name", "POST", "/releases", object{"tag_name": "v1", "target": "main"}, 422, `"target" is not in the description`},
		{"field of another type", "POST", "/releases", object{"tag_name": 1}, 422, "tag_name"},
		{"field missing", "POST", "/releases", object{"name": "x"}, 422, "tag_name"},
		{"value that is not allowed", "POST", "/releases", object{"tag_name": "v1", "make_latest": "yes"}, 422, "make_latest"},
		{"unknown parameter", "GET", "/releases?per-page=3", nil, 422, `"per-page" is not in the description`},
		{"parameter of another type", "GET", "/releases?page=last", nil, 422, "page"},
		{"id that is no number", "GET", "/releases/v1", nil, 422, "release_id"},
		{"unknown path", "GET", "/release", nil, 404, "GitHub has no GET"},
		{"unknown method", "PUT", "/releases/1", object{}, 404, "GitHub has no PUT"},
		{"not JSON", "POST", "/git/refs", "{", 422, "POST"},
		{"mode of a tree", "POST", "/git/trees", object{"tree": []object{{"path": "a", "mode": "0644", "content": "x"}}}, 422, "mode"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := &witness{T: t}
			s := githubtest.New(w, githubtest.Options{})
			resp, answer := raw{t, s, githubtest.Write}.do(test.method, test.path, test.body)
			if resp.StatusCode != test.status {
				t.Errorf("%d %v", resp.StatusCode, answer)
			}
			if len(w.errors) != 1 || !strings.Contains(w.errors[0], test.says) || len(s.Violations()) != 1 {
				t.Errorf("%q", w.errors)
			}
		})
	}
}

func TestNoUserAgent(t *testing.T) {
	s, _ := newServer(t, githubtest.Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL()+"/repos/octo/images", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Error(resp.Status)
	}
}

func TestRights(t *testing.T) {
	tests := []struct {
		access       githubtest.Access
		read, create int
		says         string
	}{
		{githubtest.Write, 200, 201, ""},
		{githubtest.Person, 200, 201, ""},
		{githubtest.Read, 200, 403, "Resource not accessible by integration"},
		{githubtest.PersonRead, 200, 403, "Resource not accessible by personal access token"},
		{githubtest.Metadata, 403, 403, "Resource not accessible by integration"},
		{"", 200, 401, "Requires authentication"},
		{"stolen", 401, 401, "Bad credentials"},
	}
	for _, test := range tests {
		t.Run(string(test.access), func(t *testing.T) {
			s, owner := newServer(t, githubtest.Options{})
			path, _ := owner.draft("v0")
			c := raw{t, s, test.access}
			if resp, answer := c.do("GET", "/releases", nil); resp.StatusCode != test.read {
				t.Errorf("list: %s %v", resp.Status, answer)
			}
			resp, answer := c.do("POST", "/releases", object{"tag_name": "v1", "draft": true})
			if resp.StatusCode != test.create || test.says != "" && answer["message"] != test.says {
				t.Errorf("create: %s %v", resp.Status, answer)
			}
			if test.create == 201 || test.read != 200 {
				return
			}
			c.must(404, "GET", path, nil)
			if seen := c.list("/releases"); len(seen) != 0 {
				t.Errorf("sees drafts: %v", seen)
			}
		})
	}
}

func TestPrivate(t *testing.T) {
	s, _ := newServer(t, githubtest.Options{Private: true})
	raw{t, s, ""}.must(404, "GET", "", nil)
	raw{t, s, githubtest.Read}.must(200, "GET", "", nil)
}

// What the repository says of permissions is no help: see Access.permissions.
func TestPermissionsMislead(t *testing.T) {
	for access, push := range map[githubtest.Access]bool{githubtest.Write: false, githubtest.Read: false, githubtest.Person: true, githubtest.PersonRead: true} {
		s, _ := newServer(t, githubtest.Options{})
		permissions, _ := raw{t, s, access}.must(200, "GET", "", nil)["permissions"].(object)
		if permissions["push"] != push {
			t.Errorf("%s: %v", access, permissions)
		}
	}
}

func TestWorkflowChange(t *testing.T) {
	for _, status := range []int{403, 404} {
		s, c := newServer(t, githubtest.Options{WorkflowChange: status})
		c.must(status, "POST", "/releases", object{"tag_name": "v1"})
		raw{t, s, githubtest.Person}.must(201, "POST", "/releases", object{"tag_name": "v1"})
	}
}
