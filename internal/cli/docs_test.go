package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/cli"
)

// TestDocsAreFresh fails when docs/ is not what the code says now.
func TestDocsAreFresh(t *testing.T) {
	dir := t.TempDir()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	renewed := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(renewed, readme, 0o600); err != nil {
		t.Fatal(err)
	}
	mainly(t, "docs", dir, "--action", "../../action.yml", "--readme", renewed)
	if text, err := os.ReadFile(renewed); err != nil || !bytes.Equal(text, readme) {
		t.Errorf("README.md is stale: run make docs (%v)", err)
	}
	schema := mainly(t, "schema")
	if err := os.WriteFile(filepath.Join(dir, "imagebuild.schema.json"), schema, 0o600); err != nil {
		t.Fatal(err)
	}
	pages := 0
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		pages++
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join("../../docs", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/%s is stale: run make docs", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pages < 10 {
		t.Errorf("only %d pages were generated", pages)
	}
}

// mainly runs the command line in this process and returns its stdout.
func mainly(t *testing.T, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Main(t.Context(), cli.Process{
		Argv: append([]string{"imagebuild"}, args...), LookupEnv: func(string) (string, bool) { return "", false },
		Stdin: &bytes.Buffer{}, Stdout: &stdout, Stderr: &stderr,
	})
	if code != 0 {
		t.Fatalf("imagebuild %v: exit code %d: %s", args, code, stderr.String())
	}
	return stdout.Bytes()
}
