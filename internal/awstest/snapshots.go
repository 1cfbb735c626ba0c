package awstest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

func (s *Server) describeSnapshots(c *call) (object, *failure) {
	var shown []any
	wanted := texts(c.in["SnapshotIds"])
	for _, id := range wanted {
		if c.region.snapshot(id) == nil {
			return nil, refuse(http.StatusBadRequest, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.region.snapshots)) {
		each := c.region.snapshots[id]
		if len(wanted) > 0 && !slices.Contains(wanted, id) {
			continue
		}
		ok, refused := matches(c.in["Filters"], each.tags, map[string]string{"snapshot-id": id, "status": each.shownState(), "description": each.description})
		if refused != nil {
			return nil, refused
		}
		if !ok || len(wanted) == 0 && c.region.snapshot(id) == nil {
			continue
		}
		shown = append(shown, s.showSnapshot(each))
	}
	return object{"Snapshots": orNone(shown)}, nil
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

func (s *Server) showSnapshot(each *snapshot) object {
	shown := object{
		"SnapshotId": each.id, "OwnerId": Account, "Description": each.description, "State": each.shownState(), "VolumeSize": each.sizeGiB,
		"StartTime": each.started, "Encrypted": each.encrypted, "VolumeId": "vol-ffffffff", "Progress": "100%", "Tags": showTags(each.tags), "StorageTier": "standard",
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

// matches applies EC2's filters: each must fit with one of its values.
func matches(filters any, tags, fields map[string]string) (bool, *failure) {
	for _, each := range list(filters) {
		name := text(part(each)["Name"])
		value, known := fields[name]
		if key, ok := strings.CutPrefix(name, "tag:"); ok {
			known = true
			value, ok = tags[key]
			if !ok {
				return false, nil
			}
		}
		if !known {
			return false, refuse(http.StatusBadRequest, "InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		if !slices.ContainsFunc(texts(part(each)["Values"]), func(pattern string) bool { return wildcard(pattern, value) }) {
			return false, nil
		}
	}
	return true, nil
}

// wildcard knows the star at a pattern's end, and EC2's question mark not at all.
func wildcard(pattern, value string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(value, prefix)
	}
	return pattern == value
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

func (s *Server) createTags(c *call) (object, *failure) {
	for _, id := range texts(c.in["Resources"]) {
		var tags map[string]string
		if each := c.region.snapshot(id); each != nil {
			tags = each.tags
		} else if each := c.region.image(id); each != nil {
			tags = each.tags
		} else if strings.HasPrefix(id, "ami-") {
			return nil, noImage(id)
		} else {
			return nil, refuse(http.StatusBadRequest, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
		}
		for _, each := range list(c.in["Tags"]) {
			tags[text(part(each)["Key"])] = text(part(each)["Value"])
		}
		if len(tags) > 50 {
			return nil, refuse(http.StatusBadRequest, "TagLimitExceeded", "You have reached the limit of 50 tags per resource.")
		}
	}
	return nil, nil
}
