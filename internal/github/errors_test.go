package github_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/githubtest"
)

func TestOptions(t *testing.T) {
	for name, opts := range map[string]github.Options{
		"is not owner/name":           {Repository: "images"},
		`"octo/images/x" is not`:      {Repository: "octo/images/x"},
		`"/images" is not owner/name`: {Repository: "/images"},
		"contains white space":        {Repository: "octo/images", Token: "ghs_secret\n"},
		"too short to mask":           {Repository: "octo/images", Token: "abc"},
		"not an http or https URL":    {Repository: "octo/images", APIURL: "ftp://example.com"},
		`"api.example.com" is not an`: {Repository: "octo/images", APIURL: "api.example.com"},
	} {
		_, err := github.New(opts)
		if err == nil || !strings.Contains(err.Error(), name) || fault.KindOf(err) != fault.Input || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := github.New(github.Options{Repository: "octo/images"})
	if err != nil || c.DownloadURL("v1", "a.box") != "https://github.com/octo/images/releases/download/v1/a.box" {
		t.Error(c, err)
	}
}

func TestRightsAndRemedies(t *testing.T) {
	tests := []struct {
		access githubtest.Access
		says   string // nothing: it may write
	}{
		{githubtest.Write, ""},
		{githubtest.Person, ""},
		{githubtest.Read, "403 Resource not accessible by integration; give the job `permissions: {contents: write}`; a pull request from a fork never gets that"},
		{githubtest.Metadata, "give the job `permissions: {contents: write}`"},
		{githubtest.PersonRead, "give the token Contents: read and write for octo/images"},
		{"stolen", "401 Bad credentials; the token is wrong or has expired"},
		{"", "there is no token; pass one: github-token: ${{ github.token }}"},
	}
	for _, test := range tests {
		t.Run(string(test.access), func(t *testing.T) {
			clock := newClock()
			s := githubtest.New(t, githubtest.Options{Now: clock.Now})
			token := ""
			if test.access != "" {
				token = s.Token(test.access)
			}
			c := connect(t, s, clock, func(o *github.Options) { o.Token = token })
			before := fmt.Sprint(s.Refs())
			err := c.CheckPush(t.Context())
			_, created := c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1", Draft: true})
			if (created == nil) != (err == nil) {
				t.Errorf("the check says %v, creating %v", err, created)
			}
			if fmt.Sprint(s.Refs()) != before {
				t.Error("the check has made a branch")
			}
			if test.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, each := range []error{err, created} {
				if fault.KindOf(each) != fault.Input || token != "" && strings.Contains(each.Error(), token) || github.Temporary(each) {
					t.Errorf("%v, kind %s", each, fault.KindOf(each))
				}
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Error(err)
			}
		})
	}
}

// A right that goes away between the check and the call changes nothing about
// what the call says.
func TestWorkflowChange(t *testing.T) {
	for _, status := range []int{403, 404} {
		clock := newClock()
		s := githubtest.New(t, githubtest.Options{Now: clock.Now, WorkflowChange: status})
		c := connect(t, s, clock, nil)
		if err := c.CheckPush(t.Context()); err != nil {
			t.Error(err)
		}
		_, err := c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1"})
		if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "the commit changes files in .github/workflows") || !strings.Contains(err.Error(), "create release v1: POST "+s.APIURL()) {
			t.Error(err)
		}
	}
}

func TestValidation(t *testing.T) {
	clock := newClock()
	s := githubtest.New(t, githubtest.Options{Now: clock.Now})
	c := connect(t, s, clock, nil)
	_, err := c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1", Target: "nowhere"})
	if err == nil || !strings.Contains(err.Error(), "422 Validation Failed: target_commitish invalid") || fault.KindOf(err) != fault.Input || github.AlreadyExists(err) {
		t.Error(err)
	}
	for i := range 2 {
		if _, err = c.CreateRelease(t.Context(), github.NewRelease{Tag: "v1"}); (err != nil) != (i == 1) {
			t.Fatal(err)
		}
	}
	if !github.AlreadyExists(err) || fault.KindOf(err) != fault.Remote || github.OutcomeUnknown(err) {
		t.Error(err)
	}
}

// A server, or a proxy that answers for it, may say anything.
func TestForeignTextInErrors(t *testing.T) {
	const token = "ghs_verysecrettoken"
	for name, serve := range map[string]http.HandlerFunc{
		"echo": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"message": "bad \u001b[31m %s\n::set-output name=x::y"}`, r.Header.Get("Authorization"))
		},
		"page": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<html>", strings.Repeat("long ", 100_000))
		},
		"long": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"message": %q}`, strings.Repeat("long ", 10_000))
		},
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"loop":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"nothing":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(serve)
			defer s.Close()
			clock := newClock()
			c, err := github.New(github.Options{APIURL: s.URL, Repository: "octo/images", Token: token, Now: clock.Now, Sleep: clock.Sleep})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Info(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			if strings.Contains(text, "verysecret") || strings.ContainsAny(text, "\n\x1b\r") || len(text) > 1000 || !strings.Contains(text, "read repository octo/images: GET ") {
				t.Errorf("%q", text)
			}
			if kind := fault.KindOf(err); kind != fault.Remote {
				t.Error(kind)
			}
		})
	}
}

// A redirect to another host loses the token.
func TestRedirectLosesTheToken(t *testing.T) {
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		fmt.Fprint(w, `{"default_branch": "main"}`)
	}))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer s.Close()
	c, err := github.New(github.Options{APIURL: s.URL, Repository: "octo/images", Token: "ghs_verysecrettoken"})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := c.Info(t.Context()); err != nil || info.DefaultBranch != "main" || len(seen) != 1 || seen[0] != "" {
		t.Errorf("%v %v %q", info, err, seen)
	}
}
