package githubtest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// From npm's @octokit/openapi 23.0.2, cut down by the program in trim; its
// licence lies beside it.
//
//go:embed testdata/github.openapi.json
var published []byte

// description is GitHub's OpenAPI description.
type description struct{ doc *openapi3.T }

// operation is one of the API's, by its path in the description.
type operation struct {
	method string
	path   string
	binary bool // the request's body is a file
}

// load parses the description once for all servers: it is only read.
var load = sync.OnceValues(func() (*description, error) {
	doc, err := openapi3.NewLoader().LoadFromData(published)
	if err != nil {
		return nil, fmt.Errorf("load GitHub's OpenAPI description: %w", err)
	}
	// The description knows "uploaded" and "open" only; the documentation of the
	// same operation says that a failed upload leaves an asset in state "starter".
	asset := doc.Components.Schemas["release-asset"]
	if asset == nil || asset.Value.Properties["state"] == nil {
		return nil, errors.New("GitHub's OpenAPI description has no state of a release asset")
	}
	state := asset.Value.Properties["state"].Value
	state.Enum = append(state.Enum, "starter")
	// A failed validation is "one of" a validation error and a repository rule's,
	// but every one of the former has the form of the latter too.
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			if response := op.Responses.Value("422"); response != nil {
				for _, media := range response.Value.Content {
					media.Schema.Value.AnyOf, media.Schema.Value.OneOf = append(media.Schema.Value.AnyOf, media.Schema.Value.OneOf...), nil
				}
			}
		}
	}
	return &description{doc: doc}, nil
})

func (d *description) input(op *operation, r *http.Request, params map[string]string, body []byte) (*openapi3filter.RequestValidationInput, error) {
	item := d.doc.Paths.Value(op.path)
	if item == nil || item.GetOperation(op.method) == nil {
		return nil, fmt.Errorf("GitHub's description has no %s %s", op.method, op.path)
	}
	copied := r.Clone(context.WithoutCancel(r.Context()))
	copied.Body = http.NoBody
	if body != nil {
		copied.Body = readCloser{bytes.NewReader(body)}
	}
	return &openapi3filter.RequestValidationInput{
		Request: copied, PathParams: params, QueryParams: r.URL.Query(),
		Route:   &routers.Route{Spec: d.doc, Path: op.path, PathItem: item, Method: op.method, Operation: item.GetOperation(op.method)},
		Options: &openapi3filter.Options{ExcludeRequestBody: op.binary, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}, nil
}

// request says what in a request the description does not allow. Beyond the
// schema it refuses parameters and fields that are not in it: GitHub ignores those, and
// so hides a misspelling.
func (d *description) request(op *operation, r *http.Request, params map[string]string, body []byte) error {
	input, err := d.input(op, r, params, body)
	if err != nil {
		return err
	}
	if err := unknownQuery(input.Route.Operation, r.URL.Query()); err != nil {
		return err
	}
	if op.binary {
		if r.Header.Get("Content-Type") == "" {
			return errors.New("an upload needs a Content-Type")
		}
	} else if err := unknownFields(input.Route.Operation, body); err != nil {
		return err
	}
	return openapi3filter.ValidateRequest(r.Context(), input)
}

// response says what in an answer the description does not allow.
func (d *description) response(op *operation, r *http.Request, params map[string]string, answer *reply) error {
	input, err := d.input(op, r, params, nil)
	if err != nil {
		return err
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: answer.status, Header: answer.header, Options: input.Options,
	}
	return openapi3filter.ValidateResponse(r.Context(), out.SetBodyBytes(answer.content))
}

func unknownQuery(op *openapi3.Operation, query url.Values) error {
	for name := range query {
		if op.Parameters.GetByInAndName("query", name) == nil {
			return fmt.Errorf("the query parameter %q is not in the description", name)
		}
	}
	return nil
}

func unknownFields(op *openapi3.Operation, body []byte) error {
	if op.RequestBody == nil || len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	media := op.RequestBody.Value.Content.Get("application/json")
	var fields map[string]json.RawMessage
	if media == nil || media.Schema == nil || json.Unmarshal(body, &fields) != nil {
		return nil
	}
	for name := range fields {
		if media.Schema.Value.Properties[name] == nil {
			known := make([]string, 0, len(media.Schema.Value.Properties))
			for each := range media.Schema.Value.Properties {
				known = append(known, each)
			}
			slices.Sort(known)
			return fmt.Errorf("the field %q is not in the description, which has %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
