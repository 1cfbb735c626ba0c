package vm

import (
	"errors"
	"testing"

	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

func TestFit(t *testing.T) {
	for _, test := range []struct{ memory, available, want size.Bytes }{
		{0, 8 * size.GiB, size.GiB},
		{2 * size.GiB, 8 * size.GiB, 2 * size.GiB},
		{8 * size.GiB, 8 * size.GiB, 4 * size.GiB},
		{size.GiB, size.MiB, 256 * size.MiB},
		{size.GiB, 0, size.GiB},
	} {
		h, note := Fit(target.Hardware{Memory: test.memory}, test.available)
		if h.Memory != test.want || h.CPUs == 0 || (note != "") != (test.memory > test.want) {
			t.Errorf("%s with %s left: %s, %q", test.memory, test.available, h.Memory, note)
		}
	}
	if AvailableMemory() == 0 {
		t.Error("cannot tell how much memory is left")
	}
}

func TestIdentifiersDiffer(t *testing.T) {
	a, err1 := NewUUID()
	b, err2 := NewUUID()
	if errors.Join(err1, err2) != nil || a == b || len(a) != 36 {
		t.Errorf("%s and %s", a, b)
	}
}
