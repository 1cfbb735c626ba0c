package githubtest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// graphql answers the one query without which gh finds no release: by its tag,
// drafts too.
func (s *Server) graphql(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Query     string
		Variables struct{ Owner, Name, TagName string }
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	if err == nil {
		err = json.Unmarshal(body, &request)
	}
	if err != nil || !strings.Contains(request.Query, "release(tagName: $tagName){databaseId,isDraft}") {
		s.violation("this server does not know the GraphQL query %s", body)
		failure(http.StatusBadRequest, "Problems parsing JSON").send(w)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found any
	for _, each := range s.releases {
		if each.tag == request.Variables.TagName && (!each.draft || s.access(r).canPush()) {
			found = object{"databaseId": each.id, "isDraft": each.draft}
		}
	}
	answer(http.StatusOK, object{"data": object{"repository": object{"release": found}}}).send(w)
}
