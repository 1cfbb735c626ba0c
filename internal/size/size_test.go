package size_test

import (
	"testing"

	"github.com/org/imagebuild-action/internal/size"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]size.Bytes{
		"1": 1, "512B": 512, "4k": 4 * size.KiB, "512MiB": 512 * size.MiB, "8GiB": 8 * size.GiB, "20G": 20 * size.GiB,
		"2 TB": 2 * size.TiB, "8388607TiB": 8388607 * size.TiB,
	} {
		if got, err := size.Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "1.5GiB", "GiB", "8Gib8", "8388608TiB", "9223372036854775808", "8 XB", "0x10"} {
		if got, err := size.Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, got)
		}
	}
}

func TestString(t *testing.T) {
	for value, want := range map[size.Bytes]string{0: "0B", 1: "1B", 1536: "1536B", 4 * size.KiB: "4KiB", 8 * size.GiB: "8GiB"} {
		if got := value.String(); got != want {
			t.Errorf("%d prints %q, want %q", int64(value), got, want)
		}
	}
	if got := (1536 * size.MiB).Human(); got != "1.5 GiB" {
		t.Errorf("Human: %q", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"8GiB", "1", "-3M", "9999999999999999T", "KB"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := size.Parse(text)
		if err != nil {
			return
		}
		if parsed <= 0 {
			t.Fatalf("Parse(%q) = %d", text, int64(parsed))
		}
		again, err := size.Parse(parsed.String())
		if err != nil || again != parsed {
			t.Fatalf("%q: %v prints as %q, which parses as %v, %v", text, int64(parsed), parsed, int64(again), err)
		}
	})
}
