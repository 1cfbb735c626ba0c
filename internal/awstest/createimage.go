package awstest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/image"
)

func (s *Server) createImage(c *call) (object, *failure) {
	found, refused := s.theInstances(c, []string{text(c.in["InstanceId"])})
	if refused != nil {
		return nil, refused
	}
	i := found[0]
	if i.state != running && i.state != stopped {
		return badRequest("IncorrectState", "Instance '%s' is not 'running' or 'stopped'.", i.id)
	}
	if refused := c.region.nameFree(text(c.in["Name"])); refused != nil {
		return nil, refused
	}
	in, sizeGiB, refused := s.imageOf(c, i)
	if refused != nil {
		return nil, refused
	}
	tags, snapshotTags := map[string]string{}, map[string]string{}
	if refused := tagKinds(c.in, map[string]map[string]string{"image": tags, "snapshot": snapshotTags}); refused != nil {
		return nil, refused
	}
	from := c.region.snapshots[i.root.snapshot]
	taken := &snapshot{
		id: s.newID("snap"), state: "completed", sizeGiB: sizeGiB, encrypted: i.root.encrypted, key: i.root.key, tags: snapshotTags, volume: i.root.id,
		started: s.opts.Now().UTC(), hidden: s.opts.Lag, pending: s.opts.Lag, content: from.content,
	}
	made := s.newImage(c.region, in, text(c.in["Name"]), taken.id, sizeGiB)
	made.tags, made.instance, made.failed, made.source = tags, i.id, c.stillborn, c.region.name+" "+i.image
	taken.description = fmt.Sprintf("Created by CreateImage(%s) for %s", i.id, made.id)
	c.region.snapshots[taken.id] = taken
	if i.root.path != "" {
		s.photograph(i.root.path, made, taken)
	}
	return object{"ImageId": made.id}, nil
}

// imageOf is what RegisterImage would be told of an instance.
func (s *Server) imageOf(c *call, i *instance) (object, int64, *failure) {
	root := object{"VolumeType": i.root.kind, "DeleteOnTermination": !i.root.keep}
	sizeGiB := i.root.sizeGiB
	for _, each := range list(c.in["BlockDeviceMappings"]) {
		ebs := part(part(each)["Ebs"])
		switch {
		case text(part(each)["DeviceName"]) != i.rootDevice:
			return nil, 0, refuse(http.StatusBadRequest, "InvalidRequest", "only the root device is served here: %s", i.rootDevice)
		case ebs["SnapshotId"] != nil || ebs["Encrypted"] != nil || ebs["KmsKeyId"] != nil:
			return nil, 0, refuse(http.StatusBadRequest, "InvalidBlockDeviceMapping", "neither the snapshot nor the encryption of a volume that is in use can be chosen")
		case ebs["VolumeSize"] != nil && number(ebs["VolumeSize"]) < sizeGiB:
			return nil, 0, refuse(http.StatusBadRequest, "InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than the instance's, expect size >= %dGB", number(ebs["VolumeSize"]), sizeGiB)
		}
		for _, name := range []string{"VolumeType", "DeleteOnTermination"} {
			if ebs[name] != nil {
				root[name] = ebs[name]
			}
		}
	}
	in := object{
		"Architecture": i.architecture, "VirtualizationType": "hvm", "EnaSupport": true, "RootDeviceName": i.rootDevice,
		"BlockDeviceMappings": []any{object{"DeviceName": i.rootDevice, "Ebs": root}},
	}
	for name, value := range i.inherited {
		in[name] = value
	}
	if c.in["Description"] != nil {
		in["Description"] = c.in["Description"]
	}
	return in, sizeGiB, nil
}

// photograph reads an instance's disk. What is written while it is read may be
// seen, as with a volume whose instance runs.
func (s *Server) photograph(path string, made *machineImage, taken *snapshot) {
	disk, err := openRaw(path)
	if err != nil {
		made.failed = true
		return
	}
	taken.content, taken.state, made.building = s.newContent(), pending, true
	s.jobs.Add(1)
	go func() {
		defer s.jobs.Done()
		blocks, err := s.store(taken.content, disk)
		err = errors.Join(err, disk.Close())
		s.mu.Lock()
		defer s.mu.Unlock()
		made.building, made.failed = false, made.failed || err != nil
		taken.content.blocks, taken.state = blocks, "completed"
	}()
}

// store keeps the blocks of a disk that are not all zero.
func (s *Server) store(into *content, disk image.Disk) (map[int64][sha256.Size]byte, error) {
	blocks := map[int64][sha256.Size]byte{}
	zero := sha256.Sum256(make([]byte, blockBytes))
	data := make([]byte, blockBytes)
	for offset := int64(0); s.life.Err() == nil; {
		start, _, err := disk.NextExtent(offset)
		if errors.Is(err, io.EOF) {
			return blocks, nil
		}
		if err != nil {
			return nil, err
		}
		at := start / blockBytes * blockBytes
		clear(data)
		if _, err := disk.ReadAt(data, at); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if digest := sha256.Sum256(data); digest != zero {
			blocks[at/blockBytes] = digest
			if !s.opts.Discard {
				if _, err := into.file.WriteAt(data, at); err != nil {
					return nil, err
				}
			}
		}
		offset = at + blockBytes
	}
	return nil, s.life.Err()
}

// rawDisk is an image.Disk over a sparse file.
type rawDisk struct {
	*os.File
	size int64
}

func openRaw(path string) (*rawDisk, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &rawDisk{file, info.Size()}, nil
}

// Size implements image.Disk.
func (d *rawDisk) Size() int64 { return d.size }

// NextExtent implements image.Disk.
func (d *rawDisk) NextExtent(offset int64) (start, end int64, err error) {
	if offset >= d.size {
		return 0, 0, io.EOF
	}
	start, err = d.Seek(offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, 0, io.EOF
	}
	if err == nil {
		end, err = d.Seek(start, unix.SEEK_HOLE)
	}
	return start, end, err
}
