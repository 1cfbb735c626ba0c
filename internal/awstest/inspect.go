package awstest

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/org/imagebuild-action/internal/fault"
)

// Image is an AMI as a test sees it.
type Image struct {
	Region, ID, Name, Snapshot, Source string
	Tags                               map[string]string
	Shared                             []string // "userId 123456789012", "group all", sorted
	Deprecated, Protected              string
	Encrypted                          bool
	Key                                string
	Registered                         map[string]any // what RegisterImage was given
}

// Images lists all AMIs, by region and id.
func (s *Server) Images() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Image
	for _, name := range slices.Sorted(maps.Keys(s.regions)) {
		r := s.regions[name]
		for _, id := range slices.Sorted(maps.Keys(r.images)) {
			each := r.images[id]
			all = append(all, Image{
				Region: name, ID: id, Name: each.name, Snapshot: each.snapshot, Source: each.source, Tags: maps.Clone(each.tags),
				Shared: slices.Sorted(maps.Keys(each.shared)), Deprecated: each.deprecated, Protected: each.protected,
				Encrypted: r.snapshots[each.snapshot].encrypted, Key: r.snapshots[each.snapshot].key, Registered: each.in,
			})
		}
	}
	return all
}

// Resources lists everything that exists, one a line: "eu-west-1 image ami-0abc".
func (s *Server) Resources() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for name, r := range s.regions {
		for id := range r.images {
			all = append(all, fmt.Sprintf("%s image %s", name, id))
		}
		for id, each := range r.snapshots {
			all = append(all, fmt.Sprintf("%s snapshot %s %s", name, id, each.state))
		}
		for id, each := range r.parameters {
			all = append(all, fmt.Sprintf("%s parameter %s %s", name, id, each.value+each.next))
		}
	}
	slices.Sort(all)
	return all
}

// SetParameter makes a parameter that somebody else owns.
func (s *Server) SetParameter(region, name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.regions[region].parameters[name] = &parameter{value: value, kind: "String", version: 1, tags: map[string]string{}}
}

// Disk is the content of an AMI or a snapshot, read back. Close it.
type Disk struct {
	file   *os.File
	size   int64
	blocks []int64 // indexes of those that were put, in order
}

// Disk opens the content of an AMI.
func (s *Server) Disk(region, imageID string) (*Disk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.regions[region]
	if r == nil || r.images[imageID] == nil {
		return nil, fault.Errorf(fault.Input, "there is no image %s in %s", imageID, region)
	}
	from := r.snapshots[r.images[imageID].snapshot]
	file, err := os.Open(from.content.file.Name())
	return &Disk{file: file, size: from.sizeGiB << 30, blocks: from.content.indexes()}, err
}

// Size implements image.Disk.
func (d *Disk) Size() int64 { return d.size }

// Close lets go of the file.
func (d *Disk) Close() error { return d.file.Close() }

// ReadAt implements image.Disk: what was never put is zero.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= d.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), d.size-offset)]
	n, err := d.file.ReadAt(want, offset)
	if err == io.EOF {
		clear(want[n:])
		n, err = len(want), nil
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// NextExtent implements image.Disk.
func (d *Disk) NextExtent(offset int64) (start, end int64, err error) {
	i, _ := slices.BinarySearch(d.blocks, offset/blockBytes)
	if i == len(d.blocks) {
		return 0, 0, io.EOF
	}
	start = d.blocks[i] * blockBytes
	return max(start, offset), start + blockBytes, nil
}
