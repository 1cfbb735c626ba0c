package awstest

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"
)

// volume is an instance's disk, or one that has outlived it.
type volume struct {
	id, snapshot, kind, zone string
	sizeGiB                  int64
	encrypted                bool
	key                      string
	keep                     bool // when the instance is terminated
	tags                     map[string]string
	created                  time.Time
	instance                 string // it is attached to; empty: none
	path                     string // its content; empty: the snapshot's
}

// checkDisk reads what the volume shall be; no other disk than the root is
// served.
func (l *launch) checkDisk() *failure {
	from := l.region.snapshots[l.from.snapshot]
	mapped := l.from.mapping()
	l.root = volume{
		snapshot: from.id, kind: textOr(mapped["VolumeType"], "gp2"), zone: l.subnet.zone, sizeGiB: max(l.from.sizeGiB, from.sizeGiB),
		encrypted: from.encrypted || l.opts.EncryptByDefault, key: from.key, keep: mapped["DeleteOnTermination"] != nil && !truth(mapped["DeleteOnTermination"]),
	}
	for _, each := range list(l.in["BlockDeviceMappings"]) {
		device, ebs := text(part(each)["DeviceName"]), part(part(each)["Ebs"])
		switch {
		case device != text(l.from.in["RootDeviceName"]):
			return refuse(http.StatusBadRequest, "InvalidRequest", "only the root device is served here: %s, not %s", text(l.from.in["RootDeviceName"]), device)
		case ebs["SnapshotId"] != nil && text(ebs["SnapshotId"]) != from.id:
			return refuse(http.StatusBadRequest, "InvalidBlockDeviceMapping", "snapshotId can only be modified on EBS devices")
		case ebs["VolumeSize"] != nil && number(ebs["VolumeSize"]) < from.sizeGiB:
			return refuse(http.StatusBadRequest, "InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", number(ebs["VolumeSize"]), from.id, from.sizeGiB)
		case ebs["Throughput"] != nil && textOr(ebs["VolumeType"], l.root.kind) != "gp3", ebs["KmsKeyId"] != nil && !truth(ebs["Encrypted"]):
			return refuse(http.StatusBadRequest, "InvalidParameterCombination", "the volume's parameters do not fit each other")
		}
		if ebs["VolumeSize"] != nil {
			l.root.sizeGiB = number(ebs["VolumeSize"])
		}
		if ebs["DeleteOnTermination"] != nil {
			l.root.keep = !truth(ebs["DeleteOnTermination"])
		}
		l.root.kind = textOr(ebs["VolumeType"], l.root.kind)
		l.root.encrypted = l.root.encrypted || truth(ebs["Encrypted"])
		l.root.key = textOr(ebs["KmsKeyId"], l.root.key)
	}
	if l.root.encrypted {
		l.root.key = textOr(l.root.key, defaultKey(l.region.name))
	}
	return nil
}

// mapping is what the image says of its root device.
func (each *machineImage) mapping() object {
	for _, mapping := range list(each.in["BlockDeviceMappings"]) {
		if text(part(mapping)["DeviceName"]) == text(each.in["RootDeviceName"]) {
			return part(part(mapping)["Ebs"])
		}
	}
	return nil
}

func textOr(v any, other string) string {
	if t := text(v); t != "" {
		return t
	}
	return other
}

func clone(tags map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, tags)
	return out
}

func (s *Server) dropVolume(r *region, v *volume) {
	delete(r.volumes, v.id)
	if v.path != "" {
		_ = os.Remove(v.path) // whoever reads it has it open; the folder goes with the test
	}
}

func noVolume(id string) *failure {
	return refuse(http.StatusBadRequest, "InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
}

func (v *volume) state() string {
	if v.instance != "" {
		return "in-use"
	}
	return "available"
}

func (s *Server) describeVolumes(c *call) (object, *failure) {
	s.settleAll(c.region)
	wanted := texts(c.in["VolumeIds"])
	for _, id := range wanted {
		if c.region.volumes[id] == nil {
			return nil, noVolume(id)
		}
	}
	ids, next, refused := s.page(c.in, slices.Sorted(maps.Keys(c.region.volumes)), wanted, 5)
	if refused != nil {
		return nil, refused
	}
	var shown []any
	for _, id := range ids {
		v := c.region.volumes[id]
		ok, refused := matches(c.in["Filters"], v.tags, map[string][]string{"volume-id": {id}, "status": {v.state()}, "snapshot-id": {v.snapshot}, "attachment.instance-id": {v.instance}, "size": {fmt.Sprint(v.sizeGiB)}})
		if refused != nil {
			return nil, refused
		}
		if !ok {
			continue
		}
		attached := []any{}
		if v.instance != "" {
			attached = append(attached, object{"InstanceId": v.instance, "VolumeId": id, "State": "attached", "Device": c.region.instances[v.instance].rootDevice, "DeleteOnTermination": !v.keep})
		}
		shown = append(shown, object{
			"VolumeId": id, "State": v.state(), "SnapshotId": v.snapshot, "Size": v.sizeGiB, "VolumeType": v.kind, "AvailabilityZone": v.zone, "CreateTime": v.created, "Encrypted": v.encrypted,
			"Attachments": attached, "Tags": showTags(v.tags),
		})
	}
	return paged(object{"Volumes": orNone(shown)}, next), nil
}

func (s *Server) settleAll(r *region) {
	for _, i := range r.instances {
		s.settle(r, i)
	}
}

func (s *Server) deleteVolume(c *call) (object, *failure) {
	s.settleAll(c.region)
	id := text(c.in["VolumeId"])
	v := c.region.volumes[id]
	switch {
	case v == nil:
		return nil, noVolume(id)
	case v.instance != "":
		return badRequest("VolumeInUse", "Volume %s is currently attached to %s", id, v.instance)
	}
	s.dropVolume(c.region, v)
	return nil, nil
}
