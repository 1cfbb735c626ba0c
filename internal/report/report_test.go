package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/redact"
)

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	var secrets redact.Set
	if err := secrets.Add("hunter22"); err != nil {
		t.Fatal(err)
	}
	r := Plain(&out, &secrets)
	stage := r.Begin("provision")
	step := stage.Begin("Clean NIC: all of it")
	step.Line("token hunter22 \x1b[31mred\x1b[0m\x07 \x1b]0;title\x07end")
	step.Note("took %s", "hunter22")
	step.End(errors.New("boom"))
	stage.End(nil)
	got := out.String()
	for _, want := range []string{
		"==> provision: Clean NIC: all of it\n",
		"all of it | token *** red end\n",
		"took ***\n",
		"<== provision: Clean NIC: all of it: failed after",
		"<== provision: done in",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in:\n%s", want, got)
		}
	}
}

func TestHostileLines(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                      "plain",
		"\x1b[1;31mred\x1b[m":        "red",
		"a\x1b]8;;http://x\x1b\\b":   "ab",
		"\x1bPq\x1b\\after":          "after",
		"cut \x1b[":                  "cut ",
		"\x1b]0;never ends":          "",
		"\x1b[2Jcleared\x1b[1;1Htop": "clearedtop",
		"back\b\b\rspace\u009b":      "backspace",
	} {
		if got := (&sink{}).clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLive(t *testing.T) {
	var out bytes.Buffer
	r, stop := Live(&out, nil, false)
	task := r.Begin("pack")
	task.Progress(512, 1024)
	task.Line("one")
	task.End(nil)
	stop()
	stop()
	if got := out.String(); !strings.Contains(got, "✓ pack") || !strings.Contains(got, "pack │ one") {
		t.Errorf("got %q", got)
	}
	r.Begin("after the end").End(nil) // must not hang or panic
}
