// Command trim cuts GitHub's published OpenAPI description down to the
// operations that the test server serves, and to what checks a message:
// examples, prose and vendor extensions go.
//
//	npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
//	go run ./internal/githubtest/trim <package/generated/api.github.com.json >internal/githubtest/testdata/github.openapi.json
//
// It refuses an operation that the description does not have.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"strings"
)

// served lists the methods of each path that are kept.
var served = map[string][]string{
	"/repos/{owner}/{repo}":                              {"get"},
	"/repos/{owner}/{repo}/contents/{path}":              {"get"},
	"/repos/{owner}/{repo}/git/blobs":                    {"post"},
	"/repos/{owner}/{repo}/git/blobs/{file_sha}":         {"get"},
	"/repos/{owner}/{repo}/git/commits":                  {"post"},
	"/repos/{owner}/{repo}/git/commits/{commit_sha}":     {"get"},
	"/repos/{owner}/{repo}/git/matching-refs/{ref}":      {"get"},
	"/repos/{owner}/{repo}/git/ref/{ref}":                {"get"},
	"/repos/{owner}/{repo}/git/refs":                     {"post"},
	"/repos/{owner}/{repo}/git/refs/{ref}":               {"patch", "delete"},
	"/repos/{owner}/{repo}/git/trees":                    {"post"},
	"/repos/{owner}/{repo}/git/trees/{tree_sha}":         {"get"},
	"/repos/{owner}/{repo}/pages":                        {"get"},
	"/repos/{owner}/{repo}/releases":                     {"get", "post"},
	"/repos/{owner}/{repo}/releases/assets/{asset_id}":   {"get", "patch", "delete"},
	"/repos/{owner}/{repo}/releases/latest":              {"get"},
	"/repos/{owner}/{repo}/releases/tags/{tag}":          {"get"},
	"/repos/{owner}/{repo}/releases/{release_id}":        {"get", "patch", "delete"},
	"/repos/{owner}/{repo}/releases/{release_id}/assets": {"get", "post"},
}

func main() {
	if err := trim(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func trim(in io.Reader, out io.Writer) error {
	var whole map[string]any
	if err := json.NewDecoder(in).Decode(&whole); err != nil {
		return fmt.Errorf("read the OpenAPI description: %w", err)
	}
	paths, _ := whole["paths"].(map[string]any)
	kept := map[string]any{}
	for path, methods := range served {
		item, ok := paths[path].(map[string]any)
		if !ok {
			return fmt.Errorf("the description has no path %s", path)
		}
		operations := map[string]any{}
		for _, method := range methods {
			operation, ok := item[method].(map[string]any)
			if !ok {
				return fmt.Errorf("the description has no %s %s", method, path)
			}
			operations[method] = strip(operation)
		}
		kept[path] = operations
	}
	components, err := closure(kept, whole)
	if err != nil {
		return err
	}
	info, _ := whole["info"].(map[string]any)
	document := map[string]any{
		"openapi": whole["openapi"], "servers": whole["servers"], "paths": kept, "components": components,
		"info": map[string]any{"title": info["title"], "version": info["version"], "license": info["license"]},
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	return encoder.Encode(document)
}

// strip drops what does not decide whether a message is valid. A response must
// have a description, so that one stays, empty.
func strip(node map[string]any) map[string]any {
	result := map[string]any{}
	for key, value := range node {
		switch properties := key == "properties"; {
		case key == "example" || key == "examples" || key == "externalDocs" || key == "summary" || key == "tags" || key == "headers" || strings.HasPrefix(key, "x-"):
		case key == "description":
			if _, isText := value.(string); !isText { // a property of that name
				result[key] = stripAny(value)
			}
		case properties:
			result[key] = stripNames(value)
		case key == "responses":
			result[key] = stripResponses(value)
		default:
			result[key] = stripAny(value)
		}
	}
	return result
}

func stripAny(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return strip(v)
	case []any:
		list := make([]any, len(v))
		for i, each := range v {
			list[i] = stripAny(each)
		}
		return list
	}
	return value
}

// stripNames keeps every key: they are names of properties, not keywords.
func stripNames(value any) any {
	names, _ := value.(map[string]any)
	result := map[string]any{}
	for name, each := range names {
		result[name] = stripAny(each)
	}
	return result
}

func stripResponses(value any) any {
	result, _ := stripNames(value).(map[string]any)
	for _, each := range result {
		if response, ok := each.(map[string]any); ok && response["$ref"] == nil {
			response["description"] = ""
		}
	}
	return result
}

// closure returns the components that the kept paths refer to, directly or not.
func closure(kept, whole map[string]any) (map[string]any, error) {
	components := map[string]any{}
	todo := references(kept, nil)
	for len(todo) > 0 {
		ref := todo[0]
		todo = todo[1:]
		parts := strings.Split(strings.TrimPrefix(ref, "#/components/"), "/")
		if len(parts) != 2 {
			return nil, fmt.Errorf("the reference %s is not to a component", ref)
		}
		group, _ := components[parts[0]].(map[string]any)
		if group == nil {
			group = map[string]any{}
			components[parts[0]] = group
		}
		if group[parts[1]] != nil {
			continue
		}
		all, _ := whole["components"].(map[string]any)
		from, _ := all[parts[0]].(map[string]any)
		target, ok := from[parts[1]].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the description has no %s", ref)
		}
		stripped := strip(target)
		if parts[0] == "responses" {
			stripped["description"] = ""
		}
		group[parts[1]] = stripped
		todo = references(stripped, todo)
	}
	return components, nil
}

func references(value any, list []string) []string {
	switch v := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			if ref, ok := v[key].(string); ok && key == "$ref" {
				list = append(list, ref)
				continue
			}
			list = references(v[key], list)
		}
	case []any:
		for _, each := range v {
			list = references(each, list)
		}
	}
	return list
}
