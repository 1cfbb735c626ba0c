package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readValues reads a file of the runner's as the runner does
// (actions/runner, FileCommandManager.cs, EnvFileKeyValuePairs).
func readValues(t *testing.T, text string) map[string]string {
	t.Helper()
	values := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		name, delimiter, found := strings.Cut(lines[i], "<<")
		if !found {
			t.Fatalf("line %d is no value: %q", i, lines[i])
		}
		var value []string
		for i++; i < len(lines) && lines[i] != delimiter; i++ {
			value = append(value, lines[i])
		}
		if i == len(lines) {
			t.Fatalf("%s does not end", name)
		}
		values[name] = strings.Join(value, "\n")
	}
	return values
}

func TestSetValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "output")
	env := map[string]string{"GITHUB_OUTPUT": path}
	j := newJob(Process{Stdout: os.Stderr, LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	want := map[string]string{
		"plain": "x", "lines": "a\nb", "empty": "", "hostile": "x\n_GitHubActionsFileCommandDelimeter_\nevil<<EOF\n1\nEOF",
	}
	for name, value := range want {
		if err := j.setValue("GITHUB_OUTPUT", name, value); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := readValues(t, string(text))
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	if err := j.setValue("GITHUB_STATE", "x", "y"); err != nil {
		t.Errorf("without such a file: %v", err)
	}
}

func TestSummaryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "summary")
	env := map[string]string{"GITHUB_STEP_SUMMARY": path}
	j := newJob(Process{Stdout: os.Stderr, LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if err := j.addSummary(strings.Repeat("text\n", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > maxSummaryBytes {
		t.Errorf("%v, %v", info.Size(), err)
	}
}
