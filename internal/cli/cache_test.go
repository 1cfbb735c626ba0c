package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/tty"
)

// try runs the command line without a terminal.
func try(t *testing.T, stdin *os.File, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, complaints bytes.Buffer
	env := map[string]string{"HOME": "/home/somebody"}
	code = Main(t.Context(), Process{
		Argv: append([]string{"imagebuild"}, args...), Stdin: stdin, Stdout: &out, Stderr: &complaints,
		LookupEnv: func(name string) (string, bool) { value, ok := env[name]; return value, ok },
	})
	return code, out.String(), complaints.String()
}

const golden = "../../examples/golden"

func TestPlanPrintsTheCache(t *testing.T) {
	code, out, _ := try(t, nil, "plan", "--cache", "--cache-dir", ".imagebuild-cache", golden)
	lines := strings.Split(out, "\n")
	if code != 0 || len(lines) != 4 || lines[0] != "path=.imagebuild-cache" || lines[2] != "restore-keys=imagebuild-1-amd64-golden-" ||
		!strings.HasPrefix(lines[1], "key=imagebuild-1-amd64-golden-") || lines[3] != "" {
		t.Errorf("code %d: %q", code, out)
	}
	_, table, _ := try(t, nil, "plan", golden)
	for _, want := range []string{"\ncache  /home/somebody/.cache/imagebuild\n", strings.TrimPrefix(lines[1], "key="), "restore-keys  imagebuild-1-amd64-golden-\n"} {
		if !strings.Contains(table, want) {
			t.Errorf("the plan lacks %q:\n%s", want, table)
		}
	}
	if code, _, complaints := try(t, nil, "plan", "--cache", "--json", golden); code != 2 || !strings.Contains(complaints, "leave one of them out") {
		t.Errorf("code %d: %s", code, complaints)
	}
}

func TestBuildFlagsThatCannotBe(t *testing.T) {
	_, slave, err := tty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	for _, test := range []struct {
		args  []string
		stdin *os.File
		want  string
	}{
		{[]string{"--on-error", "abort"}, nil, `--on-error "abort": want clean, keep or shell`},
		{[]string{"--on-error", "shell"}, nil, "--on-error shell: a shell needs a terminal"},
		{[]string{"--on-error", "shell"}, slave, "or use --on-error keep"}, // standard error is none
		{[]string{"--from", "1", "--no-cache"}, nil, "--no-cache builds all steps, and --from some of them"},
	} {
		code, out, complaints := try(t, test.stdin, append([]string{"build", "--output", t.TempDir(), golden}, test.args...)...)
		if code != 2 || out != "" || !strings.Contains(complaints, test.want) {
			t.Errorf("%q: code %d, %q, want %q", test.args, code, complaints, test.want)
		}
	}
}
