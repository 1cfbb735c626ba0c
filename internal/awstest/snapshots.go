package awstest

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
)

func (s *Server) describeSnapshots(c *call) (object, *failure) {
	var shown []any
	wanted := texts(c.in["SnapshotIds"])
	for _, id := range wanted {
		if c.region.snapshot(id) == nil {
			return nil, refuse(http.StatusBadRequest, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
		}
	}
	ids, next, refused := s.page(c.in, slices.Sorted(maps.Keys(c.region.snapshots)), wanted, 5)
	if refused != nil {
		return nil, refused
	}
	for _, id := range ids {
		each := c.region.snapshots[id]
		ok, refused := matches(c.in["Filters"], each.tags, map[string][]string{"snapshot-id": {id}, "status": {each.shownState()}, "description": {each.description}, "volume-id": {each.volumeID()}, "owner-id": {Account}})
		if refused != nil {
			return nil, refused
		}
		if !ok || len(wanted) == 0 && c.region.snapshot(id) == nil {
			continue
		}
		shown = append(shown, s.showSnapshot(each))
	}
	return paged(object{"Snapshots": orNone(shown)}, next), nil
}

func orNone(shown []any) []any {
	if shown == nil {
		return []any{}
	}
	return shown
}

func (each *snapshot) shownState() string {
	if each.state == "completed" && each.pending > 0 {
		return "pending"
	}
	return each.state
}

// volumeID is what a snapshot was taken of; what was not has always this one.
func (each *snapshot) volumeID() string { return cmp.Or(each.volume, "vol-ffffffff") }

func (s *Server) showSnapshot(each *snapshot) object {
	shown := object{
		"SnapshotId": each.id, "OwnerId": Account, "Description": each.description, "State": each.shownState(), "VolumeSize": each.sizeGiB,
		"StartTime": each.started, "Encrypted": each.encrypted, "VolumeId": each.volumeID(), "Progress": "100%", "Tags": showTags(each.tags), "StorageTier": "standard",
	}
	if each.encrypted {
		shown["KmsKeyId"] = each.key
	}
	if each.state == "completed" && each.pending > 0 {
		each.pending--
	}
	return shown
}

func showTags(tags map[string]string) []any {
	shown := []any{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		shown = append(shown, object{"Key": key, "Value": tags[key]})
	}
	return shown
}

func (s *Server) deleteSnapshot(c *call) (object, *failure) {
	id := text(c.in["SnapshotId"])
	if c.region.snapshot(id) == nil {
		return nil, refuse(http.StatusBadRequest, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	}
	for _, each := range c.region.images {
		if each.snapshot == id {
			return nil, refuse(http.StatusBadRequest, "InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", id, each.id)
		}
	}
	delete(c.region.snapshots, id)
	return nil, nil
}
