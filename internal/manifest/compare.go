package manifest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/fault"
)

// maxDecoderMemory bounds what a foreign manifest can make the decoder take.
const maxDecoderMemory = 64 << 20

// Reader reads a manifest, line by line.
type Reader struct {
	zstd  *zstd.Decoder
	lines *bufio.Scanner
	count int
}

// Read opens a manifest and checks its header. Close it.
func Read(r io.Reader) (*Reader, error) {
	decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDecoderMemory), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, fault.Errorf(fault.Input, "read manifest: %w", err)
	}
	reader := &Reader{zstd: decoder, lines: bufio.NewScanner(decoder)}
	reader.lines.Buffer(nil, maxLine)
	header, err := reader.Next()
	if errors.Is(err, io.EOF) {
		err = fault.Errorf(fault.Input, "read manifest: it is empty")
	}
	if err == nil && header.Format != Format {
		err = fault.Errorf(fault.Input, "read manifest: its format is %q, and this version reads %s", header.Format, Format)
	}
	if err != nil {
		decoder.Close()
		return nil, err
	}
	return reader, nil
}

// Next returns the next line, and io.EOF after the last.
func (r *Reader) Next() (Line, error) {
	var line Line
	if !r.lines.Scan() {
		if err := r.lines.Err(); err != nil {
			return line, fault.Errorf(fault.Input, "read manifest, line %d: %w", r.count+1, err)
		}
		return line, io.EOF
	}
	r.count++
	if err := json.Unmarshal(r.lines.Bytes(), &line); err != nil {
		return line, fault.Errorf(fault.Input, "read manifest, line %d: %w", r.count, err)
	}
	return line, nil
}

// Close frees the reader.
func (r *Reader) Close() { r.zstd.Close() }

// Difference is one thing in which two images differ.
type Difference struct {
	What string `json:"what"` // disk, path, package, user or service
	Name string `json:"name"`
	How  string `json:"how"` // as "only in the first" or "mode 0644, 0600"
}

// String renders one line.
func (d Difference) String() string { return d.What + " " + d.Name + ": " + d.How }

const (
	onlyFirst  = "only in the first"
	onlySecond = "only in the second"
)

// Compare returns in what two manifests differ: the whole disks, the paths in
// order, then packages, users and services.
func Compare(a, b io.Reader) ([]Difference, error) {
	first, err := Read(a)
	if err != nil {
		return nil, fmt.Errorf("first: %w", err)
	}
	defer first.Close()
	second, err := Read(b)
	if err != nil {
		return nil, fmt.Errorf("second: %w", err)
	}
	defer second.Close()
	left, right := &side{reader: first, rest: map[string]map[string]any{}}, &side{reader: second, rest: map[string]map[string]any{}}
	if err := errors.Join(left.advance(), right.advance()); err != nil {
		return nil, err
	}
	found, whole := compareDisks(left.disk, right.disk)
	if whole {
		return found, nil
	}
	for left.path != nil || right.path != nil {
		order := 0
		switch {
		case left.path == nil:
			order = 1
		case right.path == nil:
			order = -1
		default:
			order = comparePaths(left.path.Name, right.path.Name)
		}
		switch {
		case order < 0:
			found = append(found, Difference{"path", left.path.Name, onlyFirst})
			err = left.advance()
		case order > 0:
			found = append(found, Difference{"path", right.path.Name, onlySecond})
			err = right.advance()
		default:
			if how := fields(left.path, right.path); how != "" {
				found = append(found, Difference{"path", left.path.Name, how})
			}
			err = errors.Join(left.advance(), right.advance())
		}
		if err != nil {
			return nil, err
		}
	}
	for _, what := range []string{"package", "user", "service"} {
		found = append(found, compareRest(what, left.rest[what], right.rest[what])...)
	}
	return found, nil
}

// side is one of the two manifests: its current path, and in the end the
// small rest.
type side struct {
	reader *Reader
	disk   *Disk
	path   *Path
	rest   map[string]map[string]any
}

func (s *side) advance() error {
	previous := s.path
	s.path = nil
	for {
		line, err := s.reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case line.Disk != nil:
			s.disk = line.Disk
		case line.Path != nil:
			if previous != nil && comparePaths(previous.Name, line.Path.Name) >= 0 {
				return fault.Errorf(fault.Input, "read manifest: %s comes after %s; the file is damaged", line.Path.Name, previous.Name)
			}
			s.path = line.Path
			return nil
		case line.Package != nil:
			s.keep("package", line.Package.Name+":"+line.Package.Arch, line.Package)
		case line.User != nil:
			s.keep("user", line.User.Name, line.User)
		case line.Service != nil:
			s.keep("service", line.Service.Name+" by "+line.Service.By, line.Service)
		}
	}
}

func (s *side) keep(what, name string, value any) {
	if s.rest[what] == nil {
		s.rest[what] = map[string]any{}
	}
	s.rest[what][name] = value
}

func compareRest(what string, a, b map[string]any) []Difference {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	var found []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		left, inFirst := a[name]
		right, inSecond := b[name]
		switch {
		case !inSecond:
			found = append(found, Difference{what, name, onlyFirst})
		case !inFirst:
			found = append(found, Difference{what, name, onlySecond})
		default:
			if how := fields(left, right); how != "" {
				found = append(found, Difference{what, name, how})
			}
		}
	}
	return found
}

// fields says which fields of two equal types differ, as "mode 0644, 0600".
func fields(a, b any) string {
	left, right := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	var how []string
	for i := range left.NumField() {
		x, y := left.Field(i).Interface(), right.Field(i).Interface()
		if !reflect.DeepEqual(x, y) {
			how = append(how, fmt.Sprintf("%s %v, %v", strings.ToLower(left.Type().Field(i).Name), x, y))
		}
	}
	return strings.Join(how, "; ")
}

// comparePaths is the order of a tree: bytewise, the root first.
func comparePaths(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ".":
		return -1
	case b == ".":
		return 1
	}
	return strings.Compare(unescape(a), unescape(b))
}
