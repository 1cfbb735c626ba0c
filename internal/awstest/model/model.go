// Package model reads and writes AWS's wire protocols as AWS's published
// service models have them, so that a test server cannot take a request, nor
// give an answer, that the real services would not know.
//
//	service := model.Services()["ec2"]
//	op, input, err := service.Request(r, body)     // refuses what the model does not have
//	text, err := service.Response(op, output, id)  // the same for our own answers
//
// A message is an Object: the model's own member names to bool, int64, string,
// []byte, time.Time, []any and Object. Checked are names, types, required
// members, enumerations, lengths, ranges and patterns, and whether an operation
// can fail with an error at all where the model lists its errors.
//
// It refuses protocols other than ec2, query, json and rest-json, and shapes
// that are maps: no operation served has one.
package model

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"sync"
)

// From botocore 1.43.11, cut down by the program in
// internal/awstest/trim; its licence lies beside it.
//
//go:embed aws.json
var published []byte

// Object is a structure's members by their names in the model.
type Object map[string]any

// Service is one service's model.
type Service struct {
	Name     string `json:"-"` // as the model's file has it: "ec2"
	Metadata struct {
		Version      string `json:"apiVersion"`
		Protocol     string `json:"protocol"`
		Namespace    string `json:"xmlNamespace"`
		TargetPrefix string `json:"targetPrefix"`
		JSONVersion  string `json:"jsonVersion"`
	} `json:"metadata"`
	Operations map[string]*Operation `json:"operations"`
	Shapes     map[string]*Shape     `json:"shapes"`
}

// Operation is one call.
type Operation struct {
	Name   string  `json:"name"`
	Input  *Ref    `json:"input"`
	Output *Output `json:"output"`
	Errors []Ref   `json:"errors"`
	Auth   string  `json:"authtype"` // "v4-unsigned-body": the body is not signed; "none"
	HTTP   struct {
		Method string `json:"method"`
		URI    string `json:"requestUri"`
		Status int    `json:"responseCode"`
	} `json:"http"`
}

// Output is an operation's answer.
type Output struct {
	Ref
	Wrapper string `json:"resultWrapper"`
}

// Ref is the use of a shape, by a member or an operation.
type Ref struct {
	Shape     string `json:"shape"`
	Name      string `json:"locationName"`
	QueryName string `json:"queryName"`
	Location  string `json:"location"` // "header", "uri", "querystring"; empty is the body
	Flattened bool   `json:"flattened"`
}

// Shape is a type.
type Shape struct {
	Type     string          `json:"type"`
	Members  map[string]*Ref `json:"members"`
	Member   *Ref            `json:"member"` // of a list
	Required []string        `json:"required"`
	Payload  string          `json:"payload"` // member that is the body itself
	Enum     []string        `json:"enum"`
	Min      *int64          `json:"min"`
	Max      *int64          `json:"max"`
	Pattern  string          `json:"pattern"`
	Error    struct {
		Code   string `json:"code"`
		Status int    `json:"httpStatusCode"`
	} `json:"error"`
	Exception bool `json:"exception"`

	pattern *regexp.Regexp
}

// Services are the models by the names of their services.
var Services = sync.OnceValue(func() map[string]*Service {
	services := map[string]*Service{}
	if err := json.Unmarshal(published, &services); err != nil {
		panic(fmt.Sprintf("the published models of AWS: %v", err)) // embedded, so a broken build
	}
	for name, s := range services {
		s.Name = name
		for _, shape := range s.Shapes {
			if shape.Pattern != "" && shape.Type == "string" {
				// Java's dialect; what Go's does not know goes unchecked.
				shape.pattern, _ = regexp.Compile(shape.Pattern)
			}
		}
	}
	return services
})

func (s *Service) shape(ref *Ref) *Shape { return s.Shapes[ref.Shape] }

// MayFail says whether the model allows an operation to answer with an error,
// and its HTTP status. EC2's model lists none, so any may.
func (s *Service) MayFail(op *Operation, code string) (status int, ok bool) {
	if len(op.Errors) == 0 {
		return 0, true
	}
	for _, ref := range op.Errors {
		shape := s.Shapes[ref.Shape]
		if ref.Shape == code || shape.Error.Code == code {
			return shape.Error.Status, true
		}
	}
	return 0, false
}
