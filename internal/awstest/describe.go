package awstest

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// imageTime is how EC2 writes an image's times.
const imageTime = "2006-01-02T15:04:05.000Z"

func (s *Server) describeImages(c *call) (object, *failure) {
	wanted := texts(c.in["ImageIds"])
	for _, id := range wanted {
		if c.region.image(id) == nil {
			return nil, noImage(id)
		}
	}
	ids, next, refused := s.page(c.in, slices.Sorted(maps.Keys(c.region.images)), wanted, 1)
	if refused != nil {
		return nil, refused
	}
	var shown []any
	for _, id := range ids {
		each := c.region.images[id]
		ok, refused := matches(c.in["Filters"], each.tags, each.fields())
		if refused != nil {
			return nil, refused
		}
		if !ok || !each.ownedBy(texts(c.in["Owners"])) || !each.visible() {
			continue
		}
		if len(wanted) == 0 && (s.outdated(each) && !truth(c.in["IncludeDeprecated"]) || c.region.image(id) == nil) {
			continue
		}
		shown = append(shown, s.showImage(c.region, each))
	}
	return paged(object{"Images": orNone(shown)}, next), nil
}

// visible says whether the account may launch it.
func (each *machineImage) visible() bool {
	return each.owner == "" || each.shared["group all"] != "" || each.shared["userId "+Account] != ""
}

// ownedBy says whether the image is of one of those owners; none is all.
func (each *machineImage) ownedBy(owners []string) bool {
	if len(owners) == 0 || slices.Contains(owners, cmp.Or(each.owner, Account)) {
		return true
	}
	return each.owner == "" && slices.Contains(owners, "self") || each.alias != "" && slices.Contains(owners, each.alias)
}

// outdated is an image of somebody else's that is deprecated: it is left out
// unless asked for.
func (s *Server) outdated(each *machineImage) bool {
	at, err := time.Parse(imageTime, each.deprecated)
	return err == nil && each.owner != "" && at.Before(s.opts.Now())
}

func (each *machineImage) state() string {
	switch {
	case each.pending > 0 || each.building:
		return pending
	case each.failed:
		return "failed"
	}
	return "available"
}

// fields are what images are filtered by.
func (each *machineImage) fields() map[string][]string {
	return map[string][]string{
		"image-id": {each.id}, "name": {each.name}, "state": {each.state()}, "owner-id": {cmp.Or(each.owner, Account)}, "owner-alias": {each.alias},
		"architecture": {cmp.Or(text(each.in["Architecture"]), "i386")}, "virtualization-type": {text(each.in["VirtualizationType"])}, "root-device-type": {"ebs"}, "hypervisor": {"xen"},
		"image-type": {"machine"}, "root-device-name": {text(each.in["RootDeviceName"])}, "is-public": {strconv.FormatBool(each.shared["group all"] != "")},
		"ena-support": {strconv.FormatBool(truth(each.in["EnaSupport"]))}, "description": {text(each.in["Description"])}, "creation-date": {each.created.Format(imageTime)},
		"block-device-mapping.snapshot-id": {each.snapshot}, "source-instance-id": {each.instance},
	}
}

func (s *Server) showImage(r *region, each *machineImage) object {
	mapped := each.mapping()
	ebs := object{
		"SnapshotId": each.snapshot, "VolumeSize": each.sizeGiB, "VolumeType": textOr(mapped["VolumeType"], "gp3"), "Encrypted": r.snapshots[each.snapshot].encrypted,
		"DeleteOnTermination": mapped["DeleteOnTermination"] == nil || truth(mapped["DeleteOnTermination"]),
	}
	owner := cmp.Or(each.owner, Account)
	shown := object{
		"ImageId": each.id, "Name": each.name, "OwnerId": owner, "ImageLocation": owner + "/" + each.name, "State": each.state(),
		"Architecture": cmp.Or(text(each.in["Architecture"]), "i386"), "VirtualizationType": text(each.in["VirtualizationType"]), "EnaSupport": truth(each.in["EnaSupport"]),
		"RootDeviceName": text(each.in["RootDeviceName"]), "RootDeviceType": "ebs", "Hypervisor": "xen", "ImageType": "machine", "Public": each.shared["group all"] != "",
		"CreationDate": each.created.Format(imageTime), "Tags": showTags(each.tags), "PlatformDetails": "Linux/UNIX", "UsageOperation": "RunInstances",
		"BlockDeviceMappings":      []any{object{"DeviceName": text(each.in["RootDeviceName"]), "Ebs": ebs}},
		"DeregistrationProtection": cmp.Or(each.protected, "disabled"),
	}
	for _, name := range []string{"Description", "BootMode", "ImdsSupport", "TpmSupport"} {
		if each.in[name] != nil {
			shown[name] = each.in[name]
		}
	}
	for name, value := range map[string]string{"ImageOwnerAlias": each.alias, "SourceInstanceId": each.instance, "DeprecationTime": each.deprecated} {
		if value != "" {
			shown[name] = value
		}
	}
	if region, id, ok := strings.Cut(each.source, " "); ok {
		shown["SourceImageRegion"], shown["SourceImageId"] = region, id
	}
	if each.state() == "failed" {
		shown["StateReason"] = object{"Code": "Server.InternalError", "Message": "Server.InternalError: An internal error occurred"}
	}
	if each.pending > 0 {
		each.pending--
	}
	return shown
}
