package fat

import (
	"context"
	"encoding/binary"
	"io"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/org/imagebuild-action/internal/image"
)

// record is one entry of a directory, decoded.
type record struct {
	name    string
	dir     bool
	cluster uint32
	size    int64
	time    time.Time
}

// Walk implements image.Tree.
func (f *FS) Walk(ctx context.Context, fn func(entry *image.Entry, content io.Reader) error) error {
	root := record{dir: true, cluster: f.root, time: time.Unix(0, 0).UTC()}
	w := &walker{fs: f, ctx: ctx, fn: fn, seen: map[uint32]bool{}}
	if err := w.show(".", root); err != nil {
		return err
	}
	return w.directory("", root, 0)
}

type walker struct {
	fs   *FS
	ctx  context.Context //nolint:containedctx // lives as long as one Walk
	fn   func(*image.Entry, io.Reader) error
	seen map[uint32]bool // directories by their first cluster
}

func (w *walker) show(name string, r record) error {
	e := &image.Entry{Path: name, Type: image.Directory, Mode: 0o755, ModTime: r.time}
	if r.dir {
		return w.fn(e, nil)
	}
	e.Type, e.SizeBytes = image.File, r.size
	return w.fn(e, &chainReader{ctx: w.ctx, fs: w.fs, cluster: r.cluster, left: r.size})
}

// directory walks in the order of a Tree, in which "a-b" comes before "a/b".
func (w *walker) directory(dir string, r record, depth int) error {
	if w.seen[r.cluster] || depth > maxDepth || len(w.seen) > maxDirectories {
		return damaged("%q: directories lead to each other, or are too many", dir)
	}
	w.seen[r.cluster] = true
	records, err := w.fs.list(w.ctx, r, depth == 0)
	if err != nil {
		return err
	}
	order := make([]string, 0, len(records))
	byName := map[string]record{}
	for _, each := range records {
		if _, twice := byName[each.name]; twice {
			return damaged("%q has the name %q twice", dir, each.name)
		}
		byName[each.name] = each
		order = append(order, each.name)
		if each.dir {
			order = append(order, each.name+"/")
		}
	}
	slices.Sort(order)
	for _, key := range order {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		name, below := strings.CutSuffix(key, "/")
		if full := path.Join(dir, name); below {
			err = w.directory(full, byName[name], depth+1)
		} else {
			err = w.show(full, byName[name])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list reads a directory.
func (f *FS) list(ctx context.Context, r record, isRoot bool) ([]record, error) {
	var raw []byte
	if isRoot && f.bits != 32 {
		raw = make([]byte, f.rootBytes)
		if err := f.read(raw, f.rootArea); err != nil {
			return nil, err
		}
	} else {
		for cluster, ok := r.cluster, true; ok; {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err := f.inside(cluster); err != nil {
				return nil, err
			}
			if int64(len(raw))+f.cluster > max(maxDirBytes, f.cluster) {
				return nil, damaged("a directory of more than %d bytes", maxDirBytes)
			}
			part := make([]byte, f.cluster)
			if err := f.read(part, f.data+int64(cluster-firstCluster)*f.cluster); err != nil {
				return nil, err
			}
			raw = append(raw, part...)
			var err error
			if cluster, ok, err = f.next(cluster); err != nil {
				return nil, err
			}
		}
	}
	return f.decode(raw)
}

// decode turns entries into records. A long name stands before its entry, the
// last part first (Microsoft FAT specification, section 7).
func (f *FS) decode(raw []byte) ([]record, error) {
	le := binary.LittleEndian
	var records []record
	var long []uint16
	var sum byte
	for ; len(raw) >= entryBytes && raw[0] != 0; raw = raw[entryBytes:] {
		e := raw[:entryBytes]
		const longName = 0x0f
		switch attributes := e[11]; {
		case e[0] == 0xe5: // removed
			long = nil
			continue
		case attributes&0x3f == longName:
			if e[0]&0x40 != 0 {
				long, sum = nil, e[13]
			}
			var part []uint16
			for _, field := range [][]byte{e[1:11], e[14:26], e[28:32]} {
				for n := 0; n < len(field); n += 2 {
					part = append(part, le.Uint16(field[n:]))
				}
			}
			if long = append(part, long...); len(long) > 20*13 || e[13] != sum {
				long = nil
			}
			continue
		case attributes&attrVolume != 0:
			long = nil
			continue
		}
		r := record{
			dir: e[11]&attrDirectory != 0, cluster: uint32(le.Uint16(e[26:])), size: int64(le.Uint32(e[28:])),
			time: timeOf(le.Uint16(e[24:]), le.Uint16(e[22:])),
		}
		if f.bits == 32 {
			r.cluster |= uint32(le.Uint16(e[20:])) << 16
		}
		if r.size > int64(f.clusters)*f.cluster {
			return nil, damaged("a file of %d bytes", r.size)
		}
		var err error
		if r.name, err = nameOf(e, long, sum); err != nil {
			return nil, err
		}
		if long = nil; r.name != "." && r.name != ".." {
			records = append(records, r)
		}
	}
	return records, nil
}

// nameOf is the long name if it belongs to the entry, and else the short one.
func nameOf(e []byte, long []uint16, sum byte) (string, error) {
	own := byte(0)
	for _, b := range e[:11] {
		own = own>>1 | own<<7
		own += b
	}
	name := ""
	if n := slices.Index(long, 0); long != nil && sum == own {
		if n >= 0 {
			long = long[:n]
		}
		name = string(utf16.Decode(long))
	} else {
		base, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
		if e[12]&0x08 != 0 { // Windows NT's way to say that it is in lower case
			base = strings.ToLower(base)
		}
		if e[12]&0x10 != 0 {
			ext = strings.ToLower(ext)
		}
		if name = base; ext != "" {
			name += "." + ext
		}
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
			return "", damaged("the short name %q", name)
		}
	}
	if name == "" || strings.ContainsAny(name, "/\x00") || (name == "." || name == "..") && e[11]&attrDirectory == 0 {
		return "", damaged("the name %q", name)
	}
	return name, nil
}

// timeOf reads DOS's date and time, which say no zone: UTC.
func timeOf(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31), int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}
