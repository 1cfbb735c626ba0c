package githubtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxJSON bounds a request's JSON; far more than the longest body of a release.
const maxJSON = 64 << 20

// call is one request on its way through the server.
type call struct {
	*http.Request
	access Access
	body   []byte
	number int
	fault  *Fault
}

type route struct {
	pattern string // below the API's root
	op      operation
	handle  func(*Server, *call) *reply
}

const repo = "/repos/{owner}/{repo}"

var routes = []route{
	{repo, operation{path: repo, method: "GET"}, (*Server).getRepository},
	{repo + "/pages", operation{path: repo + "/pages", method: "GET"}, (*Server).getPages},
	{repo + "/contents/{path...}", operation{path: repo + "/contents/{path}", method: "GET"}, (*Server).getContents},

	{repo + "/releases", operation{path: repo + "/releases", method: "GET"}, (*Server).listReleases},
	{repo + "/releases", operation{path: repo + "/releases", method: "POST"}, (*Server).createRelease},
	{repo + "/releases/latest", operation{path: repo + "/releases/latest", method: "GET"}, (*Server).getLatest},
	{repo + "/releases/tags/{tag...}", operation{path: repo + "/releases/tags/{tag}", method: "GET"}, (*Server).getReleaseByTag},
	{repo + "/releases/{release_id}", operation{path: repo + "/releases/{release_id}", method: "GET"}, (*Server).getRelease},
	{repo + "/releases/{release_id}", operation{path: repo + "/releases/{release_id}", method: "PATCH"}, (*Server).updateRelease},
	{repo + "/releases/{release_id}", operation{path: repo + "/releases/{release_id}", method: "DELETE"}, (*Server).deleteRelease},
	{repo + "/releases/{release_id}/assets", operation{path: repo + "/releases/{release_id}/assets", method: "GET"}, (*Server).listAssets},
	{repo + "/releases/assets/{asset_id}", operation{path: repo + "/releases/assets/{asset_id}", method: "GET"}, (*Server).getAsset},
	{repo + "/releases/assets/{asset_id}", operation{path: repo + "/releases/assets/{asset_id}", method: "PATCH"}, (*Server).updateAsset},
	{repo + "/releases/assets/{asset_id}", operation{path: repo + "/releases/assets/{asset_id}", method: "DELETE"}, (*Server).deleteAsset},

	{repo + "/git/ref/{ref...}", operation{path: repo + "/git/ref/{ref}", method: "GET"}, (*Server).getRef},
	{repo + "/git/matching-refs/{ref...}", operation{path: repo + "/git/matching-refs/{ref}", method: "GET"}, (*Server).matchingRefs},
	{repo + "/git/refs", operation{path: repo + "/git/refs", method: "POST"}, (*Server).createRef},
	{repo + "/git/refs/{ref...}", operation{path: repo + "/git/refs/{ref}", method: "PATCH"}, (*Server).updateRef},
	{repo + "/git/refs/{ref...}", operation{path: repo + "/git/refs/{ref}", method: "DELETE"}, (*Server).deleteRef},
	{repo + "/git/commits", operation{path: repo + "/git/commits", method: "POST"}, (*Server).createCommit},
	{repo + "/git/commits/{commit_sha}", operation{path: repo + "/git/commits/{commit_sha}", method: "GET"}, (*Server).getCommit},
	{repo + "/git/trees", operation{path: repo + "/git/trees", method: "POST"}, (*Server).createTree},
	{repo + "/git/trees/{tree_sha}", operation{path: repo + "/git/trees/{tree_sha}", method: "GET"}, (*Server).getTree},
	{repo + "/git/blobs", operation{path: repo + "/git/blobs", method: "POST"}, (*Server).createBlob},
	{repo + "/git/blobs/{file_sha}", operation{path: repo + "/git/blobs/{file_sha}", method: "GET"}, (*Server).getBlob},
}

// uploads are served below another root, as from uploads.github.com.
var uploads = route{
	repo + "/releases/{release_id}/assets",
	operation{path: repo + "/releases/{release_id}/assets", method: "POST", binary: true},
	(*Server).uploadAsset,
}

// handler finds the route of a request: the first that fits. http.ServeMux
// knows no order, and so refuses the API's own paths (a tag may have slashes).
func (s *Server) handler() http.Handler {
	type page struct {
		pattern string
		serve   http.HandlerFunc
	}
	var pages []page
	for _, root := range []string{"/api/v3", "/api.github.localhost"} { // the second for gh, through a proxy
		for _, each := range routes {
			pages = append(pages, page{each.op.method + " " + root + each.pattern, s.serve(each)})
		}
	}
	pages = append(
		pages,
		page{"POST /api/uploads" + uploads.pattern, s.serve(uploads)},
		page{"POST /api.github.localhost/graphql", s.plain(s.graphql)},
		page{"GET /{owner}/{repo}/releases/download/{tag}/{name}", s.plain(s.download)},
		page{"GET /blob/{key}", s.plain(s.blob)},
		page{"GET /pages/{owner}/{repo}/{path...}", s.plain(s.pages)},
		page{"GET /raw/{owner}/{repo}/{rest...}", s.plain(s.raw)},
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, path := r.Method, r.URL.EscapedPath()
		if r.Host == "api.github.localhost" {
			path = "/" + r.Host + path
		}
		isAPI := strings.HasPrefix(path, "/api")
		if method == http.MethodHead && !isAPI {
			method = http.MethodGet
		}
		for _, each := range pages {
			if match(each.pattern, method+" "+path, r) {
				each.serve(w, r)
				return
			}
		}
		if isAPI {
			s.violation("GitHub has no %s %s, or this server does not know it", r.Method, r.URL.Path)
		}
		notFound().send(w)
	})
}

// match compares a path with a pattern part by part, and gives the request the
// values of {name} and, for all the rest, {name...}.
func match(pattern, path string, r *http.Request) bool {
	parts, given := strings.Split(pattern, "/"), strings.Split(path, "/")
	for i, part := range parts {
		name, isName := strings.CutPrefix(part, "{")
		name = strings.TrimSuffix(name, "}")
		rest, takesRest := strings.CutSuffix(name, "...")
		switch {
		case i >= len(given):
			return false
		case !isName && part != given[i]:
			return false
		case isName && takesRest:
			value, err := url.PathUnescape(strings.Join(given[i:], "/"))
			r.SetPathValue(rest, value)
			return err == nil
		case isName:
			value, err := url.PathUnescape(given[i])
			if err != nil || value == "" {
				return false
			}
			r.SetPathValue(name, value)
		}
	}
	return len(parts) == len(given)
}

// serve makes a handler of a route: log, fault, rate limit, rights, check, do,
// check.
func (s *Server) serve(each route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, access: s.access(r)}
		s.begin(c)
		if c.fault != nil && !c.fault.After && !c.fault.inHandler() {
			s.fault(w, c)
			return
		}
		result := s.perform(each, c)
		if each.op.binary {
			s.drain(c)
		}
		if result == nil || c.fault != nil && c.fault.After && result.status < 300 {
			s.fault(w, c)
			return
		}
		s.limitHeaders(c.access, result.header)
		s.end(c, result.status)
		result.send(w)
	}
}

// perform returns nil where the fault of the call is to answer.
func (s *Server) perform(each route, c *call) *reply {
	s.slow(c)
	params := pathParams(each.op.path, c.Request)
	if c.UserAgent() == "" {
		return failure(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header")
	}
	if result := s.limited(c.access); result != nil {
		return result
	}
	if c.PathValue("owner") != s.owner || c.PathValue("repo") != s.name {
		return notFound()
	}
	if !each.op.binary {
		body, err := io.ReadAll(http.MaxBytesReader(nil, c.Body, maxJSON))
		if err != nil {
			return failure(http.StatusBadRequest, "Problems parsing JSON")
		}
		c.body = body
	}
	if result := s.refuse(c.access, &each.op); result != nil {
		return result
	}
	if err := s.spec.request(&each.op, c.Request, params, c.body); err != nil {
		s.violation("%s %s: %v", c.Method, c.URL, err)
		return failure(http.StatusUnprocessableEntity, "Invalid request.\n\n"+err.Error())
	}
	result := each.handle(s, c)
	if result == nil || s.opts.TrustResponses || result.status == http.StatusFound || strings.HasPrefix(result.header.Get("Content-Type"), rawType) {
		return result
	}
	if err := s.spec.response(&each.op, c.Request, params, result); err != nil {
		s.violation("answer %d to %s %s: %v\n%s", result.status, c.Method, c.URL, err, result.content)
		return failure(http.StatusInternalServerError, err.Error())
	}
	return result
}

// plain wraps what is not the API: log and faults, no rights.
func (s *Server) plain(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r}
		s.begin(c)
		if c.fault != nil && !c.fault.inHandler() {
			s.fault(w, c)
			return
		}
		s.slow(c)
		recorder := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		handle(recorder, r)
		s.end(c, recorder.status)
	}
}

// drain reads what a refused upload still sends, if it is not too much, so that
// the client gets to the answer before it sees its connection closed.
func (s *Server) drain(c *call) {
	if c.ContentLength <= s.opts.KeepBytes && (c.fault == nil || c.fault.Effect != BrokenUpload) {
		_, _ = io.Copy(io.Discard, c.Body)
	}
}

func (s *Server) violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.violations = append(s.violations, text)
	s.mu.Unlock()
	s.t.Errorf("%s", text)
}

func (s *Server) listen(address string) error {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for the GitHub test server: %w", err)
	}
	_ = s.http.Listener.Close()
	s.http.Listener = listener
	return nil
}

func pathParams(path string, r *http.Request) map[string]string {
	params := map[string]string{}
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			params[name] = r.PathValue(name)
		}
	}
	return params
}

func (c *call) id(name string) int64 {
	id, _ := strconv.ParseInt(c.PathValue(name), 10, 64)
	return id
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
