package source

import (
	"testing"

	"github.com/org/imagebuild-action/internal/template"
)

func TestKinds(t *testing.T) {
	if err := (template.Registry{Sources: Kinds()}).Check(); err != nil {
		t.Fatal(err)
	}
	for _, k := range Kinds() {
		src, err := Open(k.New(), Request{Arch: "amd64"})
		if err != nil || src.String() == "" {
			t.Errorf("%s: %v, %v", k.Name, src, err)
		}
	}
	if _, err := Open(42, Request{}); err == nil {
		t.Error("a number is no configuration")
	}
}
