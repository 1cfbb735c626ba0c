package awstest

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

var accountPattern = regexp.MustCompile(`^\d{12}$`)

// kinds are the ways to share an image, by the member of a LaunchPermission.
var kinds = map[string]string{"UserId": "userId", "Group": "group", "OrganizationArn": "organizationArn", "OrganizationalUnitArn": "organizationalUnitArn"}

func (s *Server) modifyImage(c *call) (object, *failure) {
	found, refused := c.region.ownImage(text(c.in["ImageId"]))
	if refused != nil {
		return nil, refused
	}
	permission := part(c.in["LaunchPermission"])
	if permission == nil {
		return badRequest("InvalidRequest", "only launch permissions are changed here")
	}
	if found.state() != "available" {
		return badRequest("InvalidAMIID.Unavailable", "The image ID '%s' is no longer available", found.id)
	}
	for _, each := range list(permission["Add"]) {
		for member, kind := range kinds {
			value := text(part(each)[member])
			switch {
			case value == "":
				continue
			case member == "UserId" && !accountPattern.MatchString(value):
				return badRequest("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%s\" for userId item type.", value)
			case member == "Group" && c.region.snapshots[found.snapshot].encrypted:
				return badRequest("InvalidParameter", "Snapshot %s is encrypted; it cannot be shared publicly.", found.snapshot)
			case member == "Group" && s.opts.BlockPublicAccess:
				return badRequest("OperationNotPermitted", "You can't publicly share this image because block public access for AMIs is enabled for this account.")
			}
			found.shared[kind+" "+value] = kind
		}
	}
	for _, each := range list(permission["Remove"]) {
		for member, kind := range kinds {
			delete(found.shared, kind+" "+text(part(each)[member]))
		}
	}
	return nil, nil
}

func (s *Server) describeAttribute(c *call) (object, *failure) {
	found, refused := c.region.ownImage(text(c.in["ImageId"]))
	if refused != nil {
		return nil, refused
	}
	if text(c.in["Attribute"]) != "launchPermission" {
		return badRequest("InvalidRequest", "only launch permissions are described here")
	}
	shown := []any{}
	for _, each := range slices.Sorted(maps.Keys(found.shared)) {
		kind, value, _ := strings.Cut(each, " ")
		for member, name := range kinds {
			if name == kind {
				shown = append(shown, object{member: value})
			}
		}
	}
	return object{"ImageId": found.id, "LaunchPermissions": shown}, nil
}

func (s *Server) deprecate(c *call) (object, *failure) {
	found, refused := c.region.ownImage(text(c.in["ImageId"]))
	if refused != nil {
		return nil, refused
	}
	at, _ := c.in["DeprecateAt"].(time.Time)
	limit := 10
	if found.shared["group all"] != "" {
		limit = 2
	}
	if now := s.opts.Now(); at.Before(now) || at.After(now.AddDate(limit, 0, 0)) {
		return badRequest("InvalidParameterValue", "The deprecation time must lie in the future and within %d years", limit)
	}
	found.deprecated = at.UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05.000Z")
	return object{"Return": true}, nil
}

func (s *Server) protect(c *call) (object, *failure) {
	found, refused := c.region.ownImage(text(c.in["ImageId"]))
	if refused != nil {
		return nil, refused
	}
	found.protected = "enabled-without-cooldown"
	if truth(c.in["WithCooldown"]) {
		found.protected = "enabled-with-cooldown"
	}
	return object{"Return": "true"}, nil
}

func (s *Server) unprotect(c *call) (object, *failure) {
	found, refused := c.region.ownImage(text(c.in["ImageId"]))
	if refused != nil {
		return nil, refused
	}
	if found.protected == "enabled-without-cooldown" {
		found.protected = ""
	}
	return object{"Return": "true"}, nil
}

func (s *Server) blockPublicAccess(*call) (object, *failure) {
	state := "unblocked"
	if s.opts.BlockPublicAccess {
		state = "block-new-sharing"
	}
	return object{"ImageBlockPublicAccessState": state}, nil
}

func (s *Server) encryptionByDefault(*call) (object, *failure) {
	return object{"EbsEncryptionByDefault": s.opts.EncryptByDefault}, nil
}

func (s *Server) describeRegions(*call) (object, *failure) {
	shown := []any{}
	for _, name := range slices.Sorted(maps.Keys(s.regions)) {
		shown = append(shown, object{"RegionName": name, "Endpoint": "ec2." + name + ".example", "OptInStatus": "opt-in-not-required"})
	}
	return object{"Regions": shown}, nil
}

// parameter is one of SSM's.
type parameter struct {
	value, kind string
	version     int64
	tags        map[string]string
	next        string // a value that is not served yet
	wait        int    // how often the old one is served before
}

func (s *Server) putParameter(c *call) (object, *failure) {
	name, value := text(c.in["Name"]), text(c.in["Value"])
	if pattern := text(c.in["AllowedPattern"]); pattern != "" {
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "InvalidAllowedPatternException", "%v", err)
		}
		if !expression.MatchString(value) {
			return nil, refuse(http.StatusBadRequest, "ParameterPatternMismatchException", "The parameter value does not match the pattern %s", pattern)
		}
	}
	found := c.region.parameters[name]
	switch {
	case found != nil && !truth(c.in["Overwrite"]):
		return nil, refuse(http.StatusBadRequest, "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case truth(c.in["Overwrite"]) && c.in["Tags"] != nil:
		return nil, refuse(http.StatusBadRequest, "ValidationException", "Invalid request: tags and overwrite can't be used together.")
	case text(c.in["DataType"]) == "aws:ec2:image" && c.region.images[value] == nil:
		return nil, refuse(http.StatusBadRequest, "ValidationException", "The parameter's value is not an image of the region")
	case found == nil:
		found = &parameter{tags: map[string]string{}}
		c.region.parameters[name] = found
	}
	found.kind, found.version = text(c.in["Type"]), found.version+1
	if s.opts.Lag > 0 && text(c.in["DataType"]) == "aws:ec2:image" {
		found.next, found.wait = value, s.opts.Lag
	} else {
		found.value, found.next = value, ""
	}
	for _, each := range list(c.in["Tags"]) {
		found.tags[text(part(each)["Key"])] = text(part(each)["Value"])
	}
	return object{"Version": found.version, "Tier": "Standard"}, nil
}

func noParameter() *failure {
	return refuse(http.StatusBadRequest, "ParameterNotFound", "")
}

func (s *Server) getParameter(c *call) (object, *failure) {
	name := text(c.in["Name"])
	found := c.region.parameters[name]
	if found == nil {
		return nil, noParameter()
	}
	if found.next != "" {
		if found.wait--; found.wait < 0 {
			found.value, found.next = found.next, ""
		}
	}
	if found.value == "" {
		return nil, noParameter()
	}
	return object{"Parameter": object{"Name": name, "Type": found.kind, "Value": found.value, "Version": found.version, "ARN": arn("ssm", c.region.name, "parameter/"+strings.TrimPrefix(name, "/"))}}, nil
}

func (s *Server) deleteParameter(c *call) (object, *failure) {
	if c.region.parameters[text(c.in["Name"])] == nil {
		return nil, noParameter()
	}
	delete(c.region.parameters, text(c.in["Name"]))
	return object{}, nil
}

func (s *Server) tagParameter(c *call) (object, *failure) {
	found := c.region.parameters[text(c.in["ResourceId"])]
	if found == nil {
		return nil, refuse(http.StatusBadRequest, "InvalidResourceId", "")
	}
	for _, each := range list(c.in["Tags"]) {
		found.tags[text(part(each)["Key"])] = text(part(each)["Value"])
	}
	return object{}, nil
}
