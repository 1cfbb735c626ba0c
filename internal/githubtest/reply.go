package githubtest

import (
	"bytes"
	"encoding/json"
	"net/http"
)

type object = map[string]any

// reply is an answer that is not sent yet, so that it can be checked, or lost.
type reply struct {
	status  int
	header  http.Header
	content []byte
}

func answer(status int, value any) *reply {
	result := &reply{status: status, header: http.Header{}}
	if value == nil {
		return result
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return failure(http.StatusInternalServerError, err.Error())
	}
	result.content = buffer.Bytes()
	result.header.Set("Content-Type", "application/json; charset=utf-8")
	return result
}

// failure is GitHub's form of an error; details are its "errors".
func failure(status int, message string, details ...object) *reply {
	body := object{"message": message, "documentation_url": "https://docs.github.com/rest"}
	if len(details) > 0 {
		body["errors"] = details
	}
	return answer(status, body)
}

// invalid is a 422 that names a field.
func invalid(resource, field, code string) *reply {
	return failure(http.StatusUnprocessableEntity, "Validation Failed", object{"resource": resource, "field": field, "code": code})
}

func notFound() *reply { return failure(http.StatusNotFound, "Not Found") }

func (r *reply) send(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.content)
}
