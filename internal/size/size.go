// Package size is a quantity of bytes that reads and prints the way people
// write it: "8GiB", "512MiB", "20G". Binary units only; "G" and "GB" mean GiB,
// as qemu-img and VirtualBox have it, so that a disk is never smaller than its
// owner thought.
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes.
type Bytes int64

// Binary multiples of a byte.
const (
	KiB Bytes = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

var units = []struct {
	letter string
	value  Bytes
}{{"T", TiB}, {"G", GiB}, {"M", MiB}, {"K", KiB}}

// Parse reads a positive whole number of bytes with an optional unit.
func Parse(text string) (Bytes, error) {
	upper := strings.ToUpper(strings.TrimSpace(text))
	number, unit := upper, Bytes(1)
	for _, u := range units {
		for _, suffix := range []string{u.letter + "IB", u.letter + "B", u.letter} {
			if rest, ok := strings.CutSuffix(upper, suffix); ok {
				number, unit = rest, u.value
				goto found
			}
		}
	}
	number = strings.TrimSuffix(number, "B")
found:
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/int64(unit) {
		return 0, fmt.Errorf("%q is not a size; write a whole number with a unit, like 8GiB or 512MiB", text)
	}
	return Bytes(n) * unit, nil
}

// String prints the size exactly with the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && b%u.value == 0 {
			return fmt.Sprintf("%d%siB", b/u.value, u.letter)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}

// Human prints the size rounded to one decimal, for progress and tables.
func (b Bytes) Human() string {
	for _, u := range units {
		if b >= u.value {
			return fmt.Sprintf("%.1f %siB", float64(b)/float64(u.value), u.letter)
		}
	}
	return fmt.Sprintf("%d B", int64(b))
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*b = parsed
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
