package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
)

var update = flag.Bool("update", false, "write the golden files anew")

const testdata = "../../testdata/template"

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; make it with go test -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); renew it with go test -update:\n%s", name, diff)
	}
}

func resolve(path string) (*Template, error) {
	f, err := Load(path, testRegistry())
	if err != nil {
		return nil, err
	}
	return f.Resolve(Scope{})
}

func names(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return found
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema(testRegistry())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join(testdata, "schema.golden"), text)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("template.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("template.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// instance reads a template as an editor's schema check does.
func instance(text []byte) (any, error) {
	var doc any
	if err := yaml.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &doc); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
}

func TestGood(t *testing.T) {
	compiled := schema(t)
	for _, path := range append(names(t, testdata+"/good/*.yml"), names(t, testdata+"/good/*/*.yml")...) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			resolved, err := resolve(path)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(resolved, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".yml")+".golden", append(text, '\n'))
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := instance(source)
			if err != nil {
				t.Fatal(err)
			}
			if err := compiled.Validate(doc); err != nil {
				t.Errorf("the loader accepts what the schema does not: %v", err)
			}
		})
	}
}

func TestBad(t *testing.T) {
	compiled := schema(t)
	t.Chdir(filepath.Join(testdata, "bad"))
	for _, path := range names(t, "*.yml") {
		t.Run(path, func(t *testing.T) {
			_, err := resolve(path)
			var list fault.List
			if !errors.As(err, &list) || fault.KindOf(err) != fault.Input {
				t.Fatalf("got %v, want a list of input faults", err)
			}
			golden(t, strings.TrimSuffix(path, ".yml")+".golden", []byte(err.Error()+"\n"))
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := instance(source)
			if err != nil || bytes.HasPrefix(source, []byte("# schema: skips")) {
				return // not YAML, or not to be told apart once it is JSON
			}
			accepts := compiled.Validate(doc) == nil
			if want := bytes.HasPrefix(source, []byte("# schema: accepts")); accepts != want {
				t.Errorf("the schema accepts it: %v, want %v", accepts, want)
			}
		})
	}
}
