package template

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariablesAndMatrixKeys(t *testing.T) {
	file, err := Parse("t.yml", []byte(`name: a-${{ matrix.b || matrix.a }}
variables: {x: {default: 1}, token: {env: T, sensitive: true}, open: {sensitive: false}}
description: $${{ matrix.escaped }} ${{ matrix.broken
provision:
  - shell: echo ${{ matrix.a }} ${{ var.x }} ${{ env.HOME || env.A }}
`), testRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Variable{{"x", false}, {"token", true}, {"open", false}}, file.Variables()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, file.MatrixKeys()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"A", "HOME", "T"}, file.EnvNames()); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"a", "variables: x", "[]"} {
		file, err := Parse("t.yml", []byte(text), testRegistry())
		if err != nil || file.Variables() != nil || file.MatrixKeys() != nil || file.EnvNames() != nil {
			t.Error(text, err)
		}
	}
}

func TestArchs(t *testing.T) {
	file, err := Parse("t.yml", []byte("platforms:\n  a: {arch: [arm64, amd64]}\n  b:\n  c: {arch: [\"${{ var.x }}\"]}\n  d: {arch: x}\n"), testRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for platform, want := range map[string][]string{"a": {"arm64", "amd64"}, "b": {"amd64"}, "c": {"amd64"}, "d": {"amd64"}, "none": {"amd64"}} {
		if diff := cmp.Diff(want, file.Archs(platform)); diff != "" {
			t.Errorf("%s: %s", platform, diff)
		}
	}
}
