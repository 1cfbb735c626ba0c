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
	Registered                         map[string]any // what RegisterImage was given, or would be
	Instance                           string         // that it was made of
}

// Images lists all AMIs of the account's, by region and id.
func (s *Server) Images() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Image
	for _, name := range slices.Sorted(maps.Keys(s.regions)) {
		r := s.regions[name]
		for _, id := range slices.Sorted(maps.Keys(r.images)) {
			each := r.images[id]
			if each.owner != "" {
				continue
			}
			all = append(all, Image{
				Region: name, ID: id, Name: each.name, Snapshot: each.snapshot, Source: each.source, Tags: maps.Clone(each.tags),
				Shared: slices.Sorted(maps.Keys(each.shared)), Deprecated: each.deprecated, Protected: each.protected,
				Encrypted: r.snapshots[each.snapshot].encrypted, Key: r.snapshots[each.snapshot].key, Registered: each.in, Instance: each.instance,
			})
		}
	}
	return all
}

// Resources lists everything of the account's that exists, one a line:
// "eu-west-1 image ami-0abc". What is there by itself is not in it, as the
// default network, nor what is going by itself: an instance that shuts down, and
// the volume that goes with it.
func (s *Server) Resources() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for name, r := range s.regions {
		s.settleAll(r)
		for id, each := range r.images {
			if each.owner == "" {
				all = append(all, fmt.Sprintf("%s image %s", name, id))
			}
		}
		for id, each := range r.snapshots {
			if each.owner == "" {
				all = append(all, fmt.Sprintf("%s snapshot %s %s", name, id, each.state))
			}
		}
		all = append(all, r.machines()...)
		for id, each := range r.parameters {
			all = append(all, fmt.Sprintf("%s parameter %s %s", name, id, each.value+each.next))
		}
	}
	slices.Sort(all)
	return all
}

// machines lists instances and what belongs to them.
func (r *region) machines() []string {
	var all []string
	for id, each := range r.instances {
		if each.state != terminated && each.state != shuttingDown {
			all = append(all, fmt.Sprintf("%s instance %s %s", r.name, id, each.state))
		}
	}
	for id, each := range r.volumes {
		if i := r.instances[each.instance]; i == nil || i.state != shuttingDown || each.keep {
			all = append(all, fmt.Sprintf("%s volume %s %s", r.name, id, each.state()))
		}
	}
	for name := range r.keyPairs {
		all = append(all, fmt.Sprintf("%s key pair %s", r.name, name))
	}
	for id, each := range r.groups {
		if each.name != "default" {
			all = append(all, fmt.Sprintf("%s security group %s", r.name, id))
		}
	}
	return all
}

// Ingress lists what was ever let into a security group, one a line, whether
// the group is still there or not: "eu-west-1 sg-0abc tcp 22-22 192.0.2.1/32".
func (s *Server) Ingress() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ingress)
}

// Tags are those of a thing of the account's, by its id, or by a key pair's
// name; nil if there is no such thing.
func (s *Server) Tags(region, id string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.regions[region]
	if r == nil {
		return nil
	}
	if each := r.images[id]; each != nil {
		return maps.Clone(each.tags)
	}
	if each := r.snapshots[id]; each != nil {
		return maps.Clone(each.tags)
	}
	if each := r.instances[id]; each != nil {
		return maps.Clone(each.tags)
	}
	if each := r.volumes[id]; each != nil {
		return maps.Clone(each.tags)
	}
	if each := r.groups[id]; each != nil {
		return maps.Clone(each.tags)
	}
	for name, each := range r.keyPairs {
		if name == id || each.id == id {
			return maps.Clone(each.tags)
		}
	}
	return nil
}

// Instance is a machine as a test sees it.
type Instance struct {
	Region, ID, State, Image, Type, Key, Subnet, Address string
	Groups                                               []string
	Tags, VolumeTags                                     map[string]string
	Launched                                             map[string]any // what RunInstances was given
}

// Instances lists all instances that are remembered, terminated ones too, by
// region and id.
func (s *Server) Instances() []Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Instance
	for _, name := range slices.Sorted(maps.Keys(s.regions)) {
		r := s.regions[name]
		s.settleAll(r)
		for _, id := range slices.Sorted(maps.Keys(r.instances)) {
			i := r.instances[id]
			one := Instance{
				Region: name, ID: id, State: i.state, Image: i.image, Type: i.kind, Key: text(i.in["KeyName"]), Subnet: i.subnet.id, Address: i.address,
				Tags: maps.Clone(i.tags), VolumeTags: maps.Clone(i.root.tags), Launched: i.in,
			}
			for _, each := range i.groups {
				one.Groups = append(one.Groups, each.id)
			}
			all = append(all, one)
		}
	}
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
