package ci_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/org/imagebuild-action/internal/testkit"
)

// releases is a server with the releases of one repository: as much of
// GitHub's as publish.sh meets. It counts the calls, and fails one on demand.
type releases struct {
	t *testing.T

	mu      sync.Mutex
	list    []*release
	next    int // number of what is made next
	calls   int
	failAt  int  // the call that is answered with 502; zero is none
	effect  bool // whether that call is carried out all the same
	early   bool // whether a release was published without all of its files
	want    int  // how many files that is
	uploads int
}

type release struct {
	ID         int     `json:"id"`
	Tag        string  `json:"tag_name"`
	Draft      bool    `json:"draft"`
	Prerelease bool    `json:"prerelease"`
	UploadURL  string  `json:"upload_url"`
	Assets     []asset `json:"-"`
}

type asset struct {
	ID     int     `json:"id"`
	Name   string  `json:"name"`
	Digest *string `json:"digest"` // none while it is only half there
}

// newReleases starts the server; the second result is what makes gh use it:
// its name for a development server, and a proxy for that name.
func newReleases(t *testing.T) (*releases, []string) {
	r := &releases{t: t, next: 1}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repos/org/action/releases", r.answer(func(*http.Request) any { return append([]*release{}, r.list...) }))
	mux.HandleFunc("POST /repos/org/action/releases", r.answer(r.create))
	mux.HandleFunc("GET /repos/org/action/releases/{id}", r.answer(func(q *http.Request) any { return r.find(q) }))
	mux.HandleFunc("PATCH /repos/org/action/releases/{id}", r.answer(r.change))
	mux.HandleFunc("GET /repos/org/action/releases/{id}/assets", r.answer(func(q *http.Request) any { return append([]asset{}, r.find(q).Assets...) }))
	mux.HandleFunc("POST /repos/org/action/releases/{id}/assets", r.answer(r.upload))
	mux.HandleFunc("DELETE /repos/org/action/releases/assets/{id}", r.answer(r.remove))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return r, []string{
		"GH_HOST=github.localhost", "HTTP_PROXY=" + server.URL, "GH_TOKEN=secret", "GITHUB_REPOSITORY=org/action",
		"GH_PROMPT_DISABLED=1", "GH_NO_UPDATE_NOTIFIER=1",
	}
}

// refusal is an answer that is none of the expected.
type refusal int

func (r *releases) answer(handle func(*http.Request) any) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls++
		if q.Header.Get("Authorization") != "token secret" {
			r.t.Errorf("%s %s comes without the token", q.Method, q.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		failing := r.calls == r.failAt
		if failing && !r.effect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		body := handle(q)
		status, refused := body.(refusal)
		switch {
		case failing:
			w.WriteHeader(http.StatusBadGateway)
		case refused:
			w.WriteHeader(int(status))
			_, _ = io.WriteString(w, `{"message": "refused"}`)
		case body == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			_ = json.NewEncoder(w).Encode(body)
		}
	}
}

func (r *releases) find(q *http.Request) *release {
	for _, each := range r.list {
		if strconv.Itoa(each.ID) == q.PathValue("id") {
			return each
		}
	}
	r.t.Errorf("%s %s: there is no such release", q.Method, q.URL)
	return &release{}
}

func (r *releases) create(q *http.Request) any {
	made := &release{ID: r.next}
	if err := json.NewDecoder(q.Body).Decode(made); err != nil || !made.Draft {
		r.t.Errorf("a release is made as %+v, %v", made, err)
	}
	r.next++
	made.UploadURL = fmt.Sprintf("http://uploads.github.localhost/repos/org/action/releases/%d/assets{?name,label}", made.ID)
	r.list = append(r.list, made)
	return made
}

func (r *releases) change(q *http.Request) any {
	found := r.find(q)
	if err := json.NewDecoder(q.Body).Decode(found); err != nil {
		r.t.Error(err)
	}
	r.early = r.early || !found.Draft && len(found.Assets) != r.want
	return found
}

func (r *releases) upload(q *http.Request) any {
	found, name := r.find(q), q.URL.Query().Get("name")
	taken := slices.ContainsFunc(found.Assets, func(a asset) bool { return a.Name == name })
	if !found.Draft || taken {
		return refusal(http.StatusUnprocessableEntity)
	}
	content, err := io.ReadAll(q.Body)
	if err != nil {
		r.t.Error(err)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	made := asset{ID: r.next, Name: name, Digest: &digest}
	if r.calls == r.failAt && r.uploads%2 == 0 {
		made.Digest = nil // cut off on its way
	}
	r.next++
	r.uploads++
	found.Assets = append(found.Assets, made)
	return made
}

func (r *releases) remove(q *http.Request) any {
	for _, each := range r.list {
		each.Assets = slices.DeleteFunc(each.Assets, func(a asset) bool { return each.Draft && strconv.Itoa(a.ID) == q.PathValue("id") })
	}
	return nil
}

// dist is a folder as binaries.sh leaves it.
func dist(t *testing.T) (folder string, digests map[string]string) {
	folder, digests = t.TempDir(), map[string]string{}
	for _, name := range []string{"imagebuild-1.2.3-linux-amd64", "imagebuild-1.2.3-linux-arm64", "SHA256SUMS"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		digests[name] = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name)))
	}
	return folder, digests
}

// publish runs publish.sh against the server. The lock is held by a handler
// until it is done with the answer that gh has seen already.
func (r *releases) publish(env []string, tag, folder string) error {
	r.t.Helper()
	r.mu.Lock()
	r.mu.Unlock() //nolint:staticcheck // what the test has set is seen by the handlers
	out, err := commandEnv(r.t, "", env, filepath.Join(root, ".github/scripts/publish.sh"), tag, folder)
	r.t.Log(out)
	r.mu.Lock()
	defer r.mu.Unlock()
	return err
}

// published checks that there is one release, that it is out, and that it has
// the files.
func (r *releases) published(digests map[string]string, prerelease bool) {
	r.t.Helper()
	if len(r.list) != 1 || r.list[0].Draft || r.list[0].Prerelease != prerelease || r.early {
		r.t.Fatalf("%d releases, the first %+v; published too early: %v", len(r.list), r.list[0], r.early)
	}
	got := map[string]string{}
	for _, each := range r.list[0].Assets {
		if each.Digest != nil {
			got[each.Name] = *each.Digest
		}
	}
	if !maps.Equal(got, digests) || len(r.list[0].Assets) != len(digests) {
		r.t.Errorf("the release holds %v, want %v", got, digests)
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	testkit.Tool(t, "gh")
	folder, digests := dist(t)
	r, env := newReleases(t)
	r.want = len(digests)
	r.list = append(r.list, &release{ID: 900, Tag: "v1.2.2"}, &release{ID: 901, Tag: "v1.2.30", Draft: true})
	if err := r.publish(env, "v1.2.3", folder); err != nil {
		t.Fatal(err)
	}
	others := r.list[:2]
	if others[0].Assets != nil || others[1].Assets != nil || !others[1].Draft {
		t.Errorf("other releases were touched: %+v %+v", others[0], others[1])
	}
	r.list = r.list[2:]
	r.published(digests, false)

	// Again: it is compared, and nothing is sent.
	uploads := r.uploads
	if err := r.publish(env, "v1.2.3", folder); err != nil || r.uploads != uploads {
		t.Errorf("again: %v, %d uploads", err, r.uploads-uploads)
	}
	// With other bytes: what is out stays.
	if err := os.WriteFile(filepath.Join(folder, "SHA256SUMS"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.publish(env, "v1.2.3", folder); err == nil {
		t.Error("other bytes passed for those that are published")
	}
	r.published(digests, false)
}

// TestPublishCandidate: a release candidate is marked as one.
func TestPublishCandidate(t *testing.T) {
	t.Parallel()
	testkit.Tool(t, "gh")
	folder, digests := dist(t)
	r, env := newReleases(t)
	r.want = len(digests)
	if err := r.publish(env, "v1.2.3-rc.1", folder); err != nil {
		t.Fatal(err)
	}
	r.published(digests, true)
}

// TestPublishRefuses: what it cannot put right is left alone, in draft.
func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	testkit.Tool(t, "gh")
	folder, _ := dist(t)
	r, env := newReleases(t)
	for _, tag := range []string{"1.2.3", "v1", "v1.2.3\" or true"} {
		if err := r.publish(env, tag, folder); err == nil || r.calls != 0 {
			t.Errorf("%q: %v, after %d calls", tag, err, r.calls)
		}
	}
	other := "sha256:00"
	r.list = []*release{{ID: 5, Tag: "v1.2.3", Draft: true, UploadURL: "http://uploads.github.localhost/repos/org/action/releases/5/assets{?name}", Assets: []asset{{ID: 6, Name: "stranger", Digest: &other}}}}
	if err := r.publish(env, "v1.2.3", folder); err == nil || !r.list[0].Draft {
		t.Errorf("a draft with a file of somebody else's: %v, %+v", err, r.list[0])
	}
	r.list = []*release{{ID: 5, Tag: "v1.2.3", Draft: true}, {ID: 6, Tag: "v1.2.3", Draft: true}}
	if err := r.publish(env, "v1.2.3", folder); err == nil || r.list[0].Assets != nil || r.list[1].Assets != nil {
		t.Errorf("two drafts for one tag: %v", err)
	}
}

// TestPublishFailing: whichever call fails, before or after it had its effect,
// the release is not out half full, and running it again completes it.
func TestPublishFailing(t *testing.T) {
	t.Parallel()
	testkit.Tool(t, "gh")
	folder, digests := dist(t)
	const calls = 9 // list, create, get, assets, three uploads, assets, publish
	all := []int{1, 2, 3, 4, 5, 6, 7, 8, 9}
	failing := testkit.Depth([]int{6}, all, all)
	for _, n := range failing {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d effect %v", n, effect), func(t *testing.T) {
				r, env := newReleases(t)
				r.failAt, r.effect, r.want = n, effect, len(digests)
				if err := r.publish(env, "v1.2.3", folder); err == nil || r.calls != n {
					t.Fatalf("%v after %d calls, want an error at call %d", err, r.calls, n)
				}
				if out := slices.ContainsFunc(r.list, func(each *release) bool { return !each.Draft }); out != (n == calls && effect) {
					t.Errorf("published: %v", out)
				}
				if err := r.publish(env, "v1.2.3", folder); err != nil {
					t.Fatal(err)
				}
				r.published(digests, false)
			})
		}
	}
}

// TestCheckOutputs: the job that runs the action on itself notices when the
// outputs are not what was made.
func TestCheckOutputs(t *testing.T) {
	t.Parallel()
	testkit.Tool(t, "jq")
	folder := t.TempDir()
	for name, content := range map[string]string{"a.box": "one", "a.ova": "two", "a.manifest": "three"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest := func(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }
	right := map[string]string{
		"ARTIFACTS": `[{"name": "a.ova"}, {"name": "a.box"}]`, "DIGESTS": `{"a.box": "` + digest("one") + `", "a.ova": "` + digest("two") + `"}`,
		"OUTPUT": folder, "MANIFEST": filepath.Join(folder, "a.manifest"), "ACCELERATOR": "kvm", "RELEASE_URL": "",
	}
	for _, tt := range []struct{ name, value string }{
		{"", ""},
		{"ACCELERATOR", "tcg"},
		{"RELEASE_URL", "https://example.org/1"},
		{"MANIFEST", filepath.Join(folder, "b.manifest")},
		{"MANIFEST", ""},
		{"OUTPUT", t.TempDir()},
		{"ARTIFACTS", "[]"},
		{"ARTIFACTS", ""},
		{"ARTIFACTS", `[{"name": "a.ova"}]`},
		{"DIGESTS", "{}"},
		{"DIGESTS", strings.Replace(right["DIGESTS"], digest("one"), digest("two"), 1)},
		{"DIGESTS", strings.Replace(right["DIGESTS"], digest("one"), "", 1)},
	} {
		var env []string
		for name, value := range right {
			if name == tt.name {
				value = tt.value
			}
			env = append(env, name+"="+value)
		}
		out, err := commandEnv(t, "", env, filepath.Join(root, ".github/scripts/check-outputs.sh"))
		if (err == nil) != (tt.name == "") {
			t.Errorf("%s=%s: %v\n%s", tt.name, tt.value, err, out)
		}
	}
}
