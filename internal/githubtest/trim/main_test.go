package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// whole is a description with all operations, each of which refers to a
// component that refers to another.
func whole() map[string]any {
	paths := map[string]any{}
	for path, methods := range served {
		item := map[string]any{"put": map[string]any{}}
		for _, method := range methods {
			item[method] = map[string]any{
				"summary": "prose", "x-github": true, "tags": []any{"repos"},
				"responses": map[string]any{"200": map[string]any{"description": "prose", "headers": map[string]any{}, "content": map[string]any{
					"application/json": map[string]any{"examples": map[string]any{}, "schema": map[string]any{"$ref": "#/components/schemas/a"}},
				}}},
			}
		}
		paths[path] = item
	}
	paths["/other"] = map[string]any{"get": map[string]any{}}
	return map[string]any{"openapi": "3.0.3", "info": map[string]any{"title": "t", "version": "1"}, "paths": paths, "components": map[string]any{"schemas": map[string]any{
		"a": map[string]any{"description": "prose", "properties": map[string]any{
			"description": map[string]any{"type": "string"}, "example": map[string]any{"$ref": "#/components/schemas/b"},
		}},
		"b": map[string]any{"type": "string", "example": "x"},
		"c": map[string]any{},
	}}}
}

func run(t *testing.T, document map[string]any) (map[string]any, error) {
	t.Helper()
	in, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := trim(bytes.NewReader(in), &out); err != nil {
		return nil, err
	}
	result := map[string]any{}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	return result, nil
}

func TestTrim(t *testing.T) {
	result, err := run(t, whole())
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(result)
	for _, gone := range []string{"prose", "x-github", "/other", "put:", "examples", "headers", "tags:"} {
		if strings.Contains(text, gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	// What is a name of a property stays, although it looks like a keyword.
	if schemas := fmt.Sprint(result["components"]); schemas != "map[schemas:map[a:map[properties:map[description:map[type:string] example:map[$ref:#/components/schemas/b]]] b:map[type:string]]]" {
		t.Error(schemas)
	}
}

func TestTrimRefuses(t *testing.T) {
	lacking := func(change func(map[string]any)) map[string]any {
		document := whole()
		change(document)
		return document
	}
	const path = "/repos/{owner}/{repo}/pages"
	for says, document := range map[string]map[string]any{
		"no path " + path: lacking(func(d map[string]any) { delete(d["paths"].(map[string]any), path) }),
		"no get " + path:  lacking(func(d map[string]any) { d["paths"].(map[string]any)[path] = map[string]any{} }),
		"has no #/components/schemas/b": lacking(func(d map[string]any) {
			delete(d["components"].(map[string]any)["schemas"].(map[string]any), "b")
		}),
	} {
		if _, err := run(t, document); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if err := trim(strings.NewReader("{"), &bytes.Buffer{}); err == nil {
		t.Error("half a document")
	}
}
