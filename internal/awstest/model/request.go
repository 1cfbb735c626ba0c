package model

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Request reads a request. It refuses everything that the model does not have.
func (s *Service) Request(r *http.Request, body []byte) (*Operation, Object, error) {
	var op *Operation
	var input Object
	var err error
	switch s.Metadata.Protocol {
	case "ec2", "query":
		op, input, err = s.queryRequest(r, body)
	case "json":
		op, input, err = s.jsonRequest(r, body)
	case "rest-json":
		op, input, err = s.restRequest(r, body)
	default:
		err = fmt.Errorf("the protocol %s is not read here", s.Metadata.Protocol)
	}
	if err != nil {
		return op, nil, err
	}
	if op.Input == nil {
		return op, input, nil
	}
	return op, input, s.Check(op.Input, input)
}

// queryRequest reads a form, as the protocols ec2 and query have it.
func (s *Service) queryRequest(r *http.Request, body []byte) (*Operation, Object, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, nil, fmt.Errorf("the content type %q is no form's", r.Header.Get("Content-Type"))
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, nil, err
	}
	op := s.Operations[form.Get("Action")]
	if op == nil {
		return nil, nil, fmt.Errorf("the operation %q is not served", form.Get("Action"))
	}
	if form.Get("Version") != s.Metadata.Version {
		return op, nil, fmt.Errorf("version %q, and the model is of %s", form.Get("Version"), s.Metadata.Version)
	}
	form.Del("Action")
	form.Del("Version")
	reader := &formReader{Service: s, form: form}
	input := Object{}
	if op.Input != nil {
		if input, err = reader.structure(s.shape(op.Input), ""); err != nil {
			return op, nil, err
		}
	}
	for name := range form {
		return op, nil, fmt.Errorf("%s has no parameter %s in the model", op.Name, name)
	}
	return op, input, nil
}

// formReader takes the parameters that it understands out of a form.
type formReader struct {
	*Service
	form url.Values
}

// wireName is a member's name in a form.
func (s *Service) wireName(name string, ref *Ref) string {
	if s.Metadata.Protocol != "ec2" {
		return orElse(ref.Name, name)
	}
	if ref.QueryName != "" {
		return ref.QueryName
	}
	wire := orElse(ref.Name, name)
	return strings.ToUpper(wire[:1]) + wire[1:]
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func (f *formReader) structure(shape *Shape, prefix string) (Object, error) {
	object := Object{}
	for name, ref := range shape.Members {
		key := prefix + f.wireName(name, ref)
		if !f.has(key) {
			continue
		}
		value, err := f.value(ref, key)
		if err != nil {
			return nil, err
		}
		object[name] = value
	}
	return object, nil
}

func (f *formReader) has(key string) bool {
	if _, ok := f.form[key]; ok {
		return true
	}
	for each := range f.form {
		if strings.HasPrefix(each, key+".") {
			return true
		}
	}
	return false
}

func (f *formReader) value(ref *Ref, key string) (any, error) {
	shape := f.shape(ref)
	switch shape.Type {
	case "structure":
		return f.structure(shape, key+".")
	case "list":
		prefix := key + "."
		if f.Metadata.Protocol != "ec2" && !ref.Flattened {
			prefix += orElse(shape.Member.Name, "member") + "."
		}
		var list []any
		for i := 1; f.has(prefix + strconv.Itoa(i)); i++ {
			value, err := f.value(shape.Member, prefix+strconv.Itoa(i))
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	}
	text := f.form.Get(key)
	f.form.Del(key)
	return scalar(shape, text, key)
}

// scalar reads a value that is text on the wire.
func scalar(shape *Shape, text, at string) (any, error) {
	var value any
	var err error
	switch shape.Type {
	case "string":
		return text, nil
	case "boolean":
		if text != "true" && text != "false" {
			err = errors.New("neither true nor false")
		}
		value = text == "true"
	case "integer", "long":
		value, err = strconv.ParseInt(text, 10, 64)
	case "timestamp":
		value, err = time.Parse(time.RFC3339, text)
	case "blob":
		value, err = base64.StdEncoding.DecodeString(text)
	default:
		err = fmt.Errorf("of type %s", shape.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is %q: %w", at, text, err)
	}
	return value, nil
}

// jsonRequest reads a JSON document whose operation is a header.
func (s *Service) jsonRequest(r *http.Request, body []byte) (*Operation, Object, error) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), s.Metadata.TargetPrefix+".")
	op := s.Operations[name]
	if !ok || op == nil {
		return nil, nil, fmt.Errorf("the operation %q is not served", r.Header.Get("X-Amz-Target"))
	}
	if want := "application/x-amz-json-" + s.Metadata.JSONVersion; r.Header.Get("Content-Type") != want {
		return op, nil, fmt.Errorf("the content type is %q, not %s", r.Header.Get("Content-Type"), want)
	}
	input, err := s.jsonBody(s.shape(op.Input), body)
	return op, input, err
}

func (s *Service) jsonBody(shape *Shape, body []byte) (Object, error) {
	var raw map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.UseNumber()
	if err := decoder.Decode(&raw); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", err)
	}
	value, err := s.fromJSON(shape, raw, "the body")
	if err != nil {
		return nil, err
	}
	return value.(Object), nil
}

// fromJSON turns what encoding/json made into the values of an Object.
func (s *Service) fromJSON(shape *Shape, value any, at string) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		if shape.Type != "structure" {
			break
		}
		object := Object{}
		for key, each := range v {
			name, ref := shape.member(key)
			if ref == nil || ref.Location != "" {
				return nil, fmt.Errorf("%s has no member %s in the model", at, key)
			}
			if each == nil {
				continue
			}
			var err error
			if object[name], err = s.fromJSON(s.shape(ref), each, at+"."+key); err != nil {
				return nil, err
			}
		}
		return object, nil
	case []any:
		if shape.Type != "list" {
			break
		}
		list := make([]any, len(v))
		for i, each := range v {
			var err error
			if list[i], err = s.fromJSON(s.shape(shape.Member), each, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return nil, err
			}
		}
		return list, nil
	case json.Number:
		switch shape.Type {
		case "integer", "long":
			return v.Int64()
		case "timestamp":
			seconds, err := v.Float64()
			return time.UnixMilli(int64(seconds * 1000)).UTC(), err
		}
	case bool:
		if shape.Type == "boolean" {
			return v, nil
		}
	case string:
		switch shape.Type {
		case "string":
			return v, nil
		case "blob":
			return base64.StdEncoding.DecodeString(v)
		}
	}
	return nil, fmt.Errorf("%s is a JSON %T, and the model wants %s", at, value, shape.Type)
}

// member finds a member by its name on the wire.
func (shape *Shape) member(wire string) (string, *Ref) {
	for name, ref := range shape.Members {
		if orElse(ref.Name, name) == wire {
			return name, ref
		}
	}
	return "", nil
}

// restRequest reads a request whose members are in the path, the query, the
// headers and the body.
func (s *Service) restRequest(r *http.Request, body []byte) (*Operation, Object, error) {
	for _, op := range s.Operations {
		labels, ok := match(op.HTTP.URI, r.URL.Path)
		if !ok || op.HTTP.Method != r.Method {
			continue
		}
		input, err := s.restInput(op, labels, r, body)
		return op, input, err
	}
	return nil, nil, fmt.Errorf("the operation %s %s is not served", r.Method, r.URL.Path)
}

func (s *Service) restInput(op *Operation, labels map[string]string, r *http.Request, body []byte) (Object, error) {
	shape := s.shape(op.Input)
	input := Object{}
	rest, query := slices.Clone(body), r.URL.Query()
	if shape.Payload == "" && len(rest) > 0 {
		var err error
		if input, err = s.jsonBody(shape, rest); err != nil {
			return nil, err
		}
	}
	for name, ref := range shape.Members {
		text, found := "", false
		switch ref.Location {
		case "uri":
			text, found = labels[ref.Name]
		case "querystring":
			text, found = query.Get(ref.Name), query.Has(ref.Name)
			query.Del(ref.Name)
		case "header":
			text = r.Header.Get(ref.Name)
			found = text != ""
		default:
			if name == shape.Payload {
				input[name] = rest
			}
		}
		if !found {
			continue
		}
		value, err := scalar(s.shape(ref), text, name)
		if err != nil {
			return nil, err
		}
		input[name] = value
	}
	for name := range query {
		return nil, fmt.Errorf("%s has no query parameter %s in the model", op.Name, name)
	}
	return input, nil
}

// match compares a path with a model's, as "/snapshots/{snapshotId}".
func match(pattern, path string) (map[string]string, bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, false
	}
	labels := map[string]string{}
	for i, part := range want {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			labels[strings.TrimSuffix(name, "}")] = have[i]
		} else if part != have[i] {
			return nil, false
		}
	}
	return labels, true
}
