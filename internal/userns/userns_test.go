package userns

import (
	"os"
	"os/user"
	"path/filepath"
	"testing"
)

func TestRootStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	if err := Enter(t.Context(), []string{"x"}, nil); err != nil {
		t.Error(err)
	}
}

func TestHasRange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	if err := os.WriteFile(file, []byte("anna:100000:65536\n1007:200000:65536\nannabel:1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, uid string
		want      bool
	}{{"anna", "1", true}, {"ann", "1", false}, {"otto", "1007", true}, {"otto", "100", false}, {"", "", false}} {
		if got := hasRange(file, &user.User{Username: test.name, Uid: test.uid}); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	if hasRange(file+"x", &user.User{Username: "anna"}) {
		t.Error("a missing file has a range")
	}
}
