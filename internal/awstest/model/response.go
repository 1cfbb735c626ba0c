package model

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Response renders an answer: its headers and its body. It refuses what the
// model does not have.
func (s *Service) Response(op *Operation, output Object, requestID string) (http.Header, []byte, error) {
	header := http.Header{}
	if op.Output != nil {
		if err := s.Check(&op.Output.Ref, output); err != nil {
			return nil, nil, err
		}
	} else if len(output) > 0 {
		return nil, nil, fmt.Errorf("%s answers nothing, not %v", op.Name, output)
	}
	switch s.Metadata.Protocol {
	case "ec2", "query":
		header.Set("Content-Type", "text/xml;charset=UTF-8")
		return header, s.xmlResponse(op, output, requestID), nil
	}
	header.Set("Content-Type", "application/json")
	header.Set("X-Amzn-Requestid", requestID)
	shape := s.shape(&op.Output.Ref)
	if shape.Payload != "" {
		header.Set("Content-Type", "application/octet-stream")
	}
	for name, ref := range shape.Members {
		if ref.Location == "header" && output[name] != nil {
			header.Set(ref.Name, fmt.Sprint(output[name]))
		}
	}
	if shape.Payload != "" {
		body, _ := output[shape.Payload].([]byte)
		return header, body, nil
	}
	body, err := json.Marshal(s.toJSON(shape, output))
	return header, body, err
}

func (s *Service) toJSON(shape *Shape, value any) any {
	switch v := value.(type) {
	case Object:
		out := map[string]any{}
		for name, each := range v {
			if ref := shape.Members[name]; ref.Location == "" {
				out[orElse(ref.Name, name)] = s.toJSON(s.shape(ref), each)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, each := range v {
			out[i] = s.toJSON(s.shape(shape.Member), each)
		}
		return out
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return json.Number(strconv.FormatFloat(float64(v.UnixMilli())/1000, 'f', 3, 64))
	}
	return value
}

func (s *Service) xmlResponse(op *Operation, output Object, requestID string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s<%sResponse xmlns=\"%s\">", xml.Header, op.Name, s.Metadata.Namespace)
	if s.Metadata.Protocol == "ec2" {
		fmt.Fprintf(&out, "<requestId>%s</requestId>", requestID)
	}
	if op.Output != nil {
		if op.Output.Wrapper != "" {
			fmt.Fprintf(&out, "<%s>", op.Output.Wrapper)
		}
		s.members(&out, s.shape(&op.Output.Ref), output)
		if op.Output.Wrapper != "" {
			fmt.Fprintf(&out, "</%s>", op.Output.Wrapper)
		}
	}
	if s.Metadata.Protocol != "ec2" {
		fmt.Fprintf(&out, "<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata>", requestID)
	}
	fmt.Fprintf(&out, "</%sResponse>", op.Name)
	return out.Bytes()
}

func (s *Service) members(out *bytes.Buffer, shape *Shape, object Object) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		ref := shape.Members[name]
		s.element(out, orElse(ref.Name, name), s.shape(ref), object[name])
	}
}

func (s *Service) element(out *bytes.Buffer, name string, shape *Shape, value any) {
	fmt.Fprintf(out, "<%s>", name)
	switch v := value.(type) {
	case Object:
		s.members(out, shape, v)
	case []any:
		for _, each := range v {
			s.element(out, orElse(shape.Member.Name, "member"), s.shape(shape.Member), each)
		}
	case time.Time:
		out.WriteString(v.UTC().Format("2006-01-02T15:04:05.000Z"))
	default:
		_ = xml.EscapeText(out, []byte(fmt.Sprint(v))) // a Buffer never fails
	}
	fmt.Fprintf(out, "</%s>", name)
}

// Failure renders an error. The details are members of its shape besides the
// message, as "Reason".
func (s *Service) Failure(op *Operation, code, message, requestID string, details map[string]string) (http.Header, []byte, error) {
	if op != nil {
		if _, ok := s.MayFail(op, code); !ok {
			return nil, nil, fmt.Errorf("%s cannot fail with %s in the model", op.Name, code)
		}
	}
	if shape := s.Shapes[code]; shape != nil {
		object := Object{}
		for name, value := range details {
			object[name] = value
		}
		if err := s.check(shape, object, code); err != nil {
			return nil, nil, err
		}
	}
	header := http.Header{}
	var out bytes.Buffer
	escape := func(text string) string {
		var b bytes.Buffer
		_ = xml.EscapeText(&b, []byte(text)) // a Buffer never fails
		return b.String()
	}
	switch s.Metadata.Protocol {
	case "ec2":
		header.Set("Content-Type", "text/xml;charset=UTF-8")
		fmt.Fprintf(&out, "%s<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID></Response>",
			xml.Header, escape(code), escape(message), requestID)
		return header, out.Bytes(), nil
	case "query":
		header.Set("Content-Type", "text/xml")
		fmt.Fprintf(&out, "<ErrorResponse xmlns=\"%s\"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>",
			s.Metadata.Namespace, escape(code), escape(message), requestID)
		return header, out.Bytes(), nil
	}
	header.Set("Content-Type", "application/json")
	header.Set("X-Amzn-Errortype", code)
	header.Set("X-Amzn-Requestid", requestID)
	body := map[string]string{"__type": code}
	if s.Metadata.Protocol == "rest-json" {
		body["Message"] = message
	} else {
		body["message"] = message
	}
	for name, value := range details {
		body[name] = value
	}
	err := json.NewEncoder(&out).Encode(body)
	return header, out.Bytes(), err
}
