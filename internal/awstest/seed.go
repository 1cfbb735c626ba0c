package awstest

import (
	"cmp"
	"time"

	"github.com/org/imagebuild-action/internal/image"
)

// Seed is an AMI that is there before the client comes.
type Seed struct {
	Region       string // the first one unless set
	Name         string
	Owner        string // an account of somebody else's, to whom the snapshot belongs too; empty is Account
	Alias        string // of the owner: "amazon"
	Architecture string // x86_64 unless set
	RootDevice   string // /dev/xvda unless set
	BootMode     string
	ImdsSupport  string // "v2.0": what is launched of it demands tokens
	Description  string
	Created      time.Time  // now unless set
	Deprecated   time.Time  // never unless set
	Disk         image.Disk // what its snapshot has; nil: it exists in name only
	SizeGiB      int64      // at least what Disk takes, and 1
	Private      bool       // not to be launched by others; public otherwise, if somebody else's
	Encrypted    bool
}

// Seed adds an AMI and says its id. It is there at once, whatever the lag.
func (s *Server) Seed(seed Seed) string {
	s.t.Helper()
	s.mu.Lock()
	made := s.newContent()
	s.mu.Unlock()
	if seed.Disk != nil {
		blocks, err := s.store(made, seed.Disk)
		if err != nil {
			s.t.Fatalf("awstest: seed %s: %v", seed.Name, err)
		}
		made.blocks = blocks
		seed.SizeGiB = max(seed.SizeGiB, (seed.Disk.Size()+1<<30-1)>>30)
	}
	now := s.opts.Now().UTC()
	if seed.Created.IsZero() {
		seed.Created = now
	}
	if seed.Owner == Account {
		seed.Owner = ""
	}
	seed.SizeGiB = max(seed.SizeGiB, 1)
	device := cmp.Or(seed.RootDevice, "/dev/xvda")
	in := object{
		"Architecture": cmp.Or(seed.Architecture, "x86_64"), "VirtualizationType": "hvm", "EnaSupport": true, "RootDeviceName": device,
		"BlockDeviceMappings": []any{object{"DeviceName": device, "Ebs": object{"VolumeType": "gp3", "DeleteOnTermination": true}}},
	}
	for name, value := range map[string]string{"BootMode": seed.BootMode, "ImdsSupport": seed.ImdsSupport, "Description": seed.Description} {
		if value != "" {
			in[name] = value
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.regions[cmp.Or(seed.Region, s.opts.Regions[0])]
	if r == nil {
		s.t.Fatalf("awstest: seed %s: there is no region %s", seed.Name, seed.Region)
	}
	disk := &snapshot{
		id: s.newID("snap"), owner: seed.Owner, state: "completed", sizeGiB: seed.SizeGiB, tags: map[string]string{}, started: seed.Created, content: made, encrypted: seed.Encrypted,
	}
	if disk.encrypted {
		disk.key = defaultKey(r.name)
	}
	r.snapshots[disk.id] = disk
	i := s.newImage(r, in, seed.Name, disk.id, seed.SizeGiB)
	i.owner, i.alias, i.created, i.hidden, i.pending = seed.Owner, seed.Alias, seed.Created.UTC(), 0, 0
	if !seed.Private && seed.Owner != "" {
		i.shared["group all"] = "group"
	}
	if !seed.Deprecated.IsZero() {
		i.deprecated = seed.Deprecated.UTC().Format(imageTime)
	}
	return i.id
}
