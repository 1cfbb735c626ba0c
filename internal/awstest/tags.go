package awstest

import (
	"net/http"
	"strings"
)

// maxTags are a resource's at most.
const maxTags = 50

// tagKinds applies TagSpecifications to what an operation makes, by its kind.
func tagKinds(in object, kinds map[string]map[string]string) *failure {
	for _, each := range list(in["TagSpecifications"]) {
		kind := text(part(each)["ResourceType"])
		into, known := kinds[kind]
		switch {
		case !known:
			return refuse(http.StatusBadRequest, "InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", kind)
		case len(list(part(each)["Tags"])) == 0:
			return refuse(http.StatusBadRequest, "InvalidParameterValue", "Tag specification must have at least one tag")
		}
		if refused := tag(into, list(part(each)["Tags"])); refused != nil {
			return refused
		}
	}
	return nil
}

// tag adds tags to those that a resource has.
func tag(into map[string]string, tags []any) *failure {
	for _, each := range tags {
		key, value := text(part(each)["Key"]), text(part(each)["Value"])
		switch {
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return refuse(http.StatusBadRequest, "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case key == "" || len(key) > 128:
			return refuse(http.StatusBadRequest, "InvalidParameterValue", "Tag key exceeds the maximum length of 128 characters, or has none")
		case len(value) > 256:
			return refuse(http.StatusBadRequest, "InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters")
		}
		into[key] = value
	}
	if len(into) > maxTags {
		return refuse(http.StatusBadRequest, "TagLimitExceeded", "You have reached the limit of %d tags per resource.", maxTags)
	}
	return nil
}

func (s *Server) createTags(c *call) (object, *failure) {
	for _, id := range texts(c.in["Resources"]) {
		tags, refused := s.tagsOf(c, id)
		if refused == nil {
			refused = tag(tags, list(c.in["Tags"]))
		}
		if refused != nil {
			return nil, refused
		}
	}
	return nil, nil
}

// tagsOf are the tags of a thing by its id, whose beginning says what it is.
func (s *Server) tagsOf(c *call, id string) (map[string]string, *failure) {
	kind, _, _ := strings.Cut(id, "-")
	switch kind {
	case "ami":
		each, refused := c.region.ownImage(id)
		if refused != nil {
			return nil, refused
		}
		return each.tags, nil
	case "i":
		if each := s.instance(c.region, id); each != nil {
			return each.tags, nil
		}
		return nil, noInstances([]string{id})
	case "vol":
		if each := c.region.volumes[id]; each != nil {
			return each.tags, nil
		}
		return nil, noVolume(id)
	case "sg":
		if each := c.region.group(id); each != nil {
			return each.tags, nil
		}
		return nil, noGroup(id)
	case "key":
		for _, each := range c.region.keyPairs {
			if each.id == id && c.region.keyPair(each.name) != nil {
				return each.tags, nil
			}
		}
		return nil, refuse(http.StatusBadRequest, "InvalidKeyPair.NotFound", "The key pair ID '%s' does not exist", id)
	case "snap":
		if each := c.region.snapshot(id); each != nil {
			return each.tags, nil
		}
		return nil, refuse(http.StatusBadRequest, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	}
	return nil, refuse(http.StatusBadRequest, "InvalidID", "The ID '%s' is not valid", id)
}
