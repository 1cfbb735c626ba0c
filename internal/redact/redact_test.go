package redact_test

import (
	"encoding/base64"
	"testing"

	"github.com/org/imagebuild-action/internal/redact"
)

func TestMasksEverySpelling(t *testing.T) {
	var set redact.Set
	secret := "p@ss word/1\nsecond line"
	if err := set.Add(secret); err != nil {
		t.Fatal(err)
	}
	if err := set.Add("p@ss word"); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"x p@ss word/1 y":                 "x *** y",
		"only p@ss word here":             "only *** here",
		"a second line b":                 "a *** b",
		"q=p%40ss+word%2F1%0Asecond+line": "q=***",
		"b " + base64.StdEncoding.EncodeToString([]byte(secret)): "b ***",
		"nothing here": "nothing here",
	} {
		if got := set.String(in); got != want {
			t.Errorf("String(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestShortAndEmptyAndNil(t *testing.T) {
	var set redact.Set
	if err := set.Add("abc"); err == nil {
		t.Error("a value of three bytes was accepted")
	}
	if err := set.Add(""); err != nil {
		t.Errorf("an unset secret is harmless: %v", err)
	}
	var none *redact.Set
	if got := none.String("abc"); got != "abc" {
		t.Errorf("nil set: %q", got)
	}
}
