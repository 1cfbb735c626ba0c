package awstest

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// group is a security group.
type group struct {
	id, name, description string
	vpc                   *vpc
	rules                 []rule
	tags                  map[string]string
	hidden                int
	lingering             int // how often it cannot be deleted yet
}

// rule lets in what comes from a range of addresses.
type rule struct {
	protocol, from  string // "tcp"; a CIDR
	low, high       int64
	note            string
	versionSix, any bool // any: all ports
}

// String is how a test reads it: "tcp 22-22 0.0.0.0/0".
func (r rule) String() string {
	if r.any {
		return r.protocol + " all " + r.from
	}
	return fmt.Sprintf("%s %d-%d %s", r.protocol, r.low, r.high, r.from)
}

// The characters of a group's name and description, by CreateSecurityGroup's
// reference.
var groupPattern = regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}$`)

func noGroup(id string) *failure {
	return refuse(http.StatusBadRequest, "InvalidGroup.NotFound", "The security group '%s' does not exist", id)
}

// group is one that the caller can see by now.
func (r *region) group(id string) *group {
	found := r.groups[id]
	if found != nil && found.hidden > 0 {
		found.hidden--
		return nil
	}
	return found
}

// groupNamed is a group of the default network.
func (r *region) groupNamed(name string) *group {
	for id, each := range r.groups {
		if each.name == name && each.vpc.standard {
			return r.group(id)
		}
	}
	return nil
}

// theGroup is the one that a call names, by its id or by its name.
func (c *call) theGroup() (*group, *failure) {
	id, name := text(c.in["GroupId"]), text(c.in["GroupName"])
	switch {
	case id == "" && name == "":
		return nil, refuse(http.StatusBadRequest, "MissingParameter", "The request must contain the parameter groupName or groupId")
	case id != "" && !strings.HasPrefix(id, "sg-"):
		return nil, refuse(http.StatusBadRequest, "InvalidGroupId.Malformed", "Invalid id: \"%s\" (expecting \"sg-...\")", id)
	}
	found := c.region.group(id)
	if id == "" {
		found = c.region.groupNamed(name)
	}
	if found == nil {
		return nil, noGroup(cmp.Or(id, name))
	}
	return found, nil
}

func (s *Server) createGroup(c *call) (object, *failure) {
	name, description := text(c.in["GroupName"]), text(c.in["Description"])
	in := c.region.vpcs[text(c.in["VpcId"])]
	if c.in["VpcId"] == nil {
		in = c.region.defaultVPC()
	}
	switch {
	case in == nil && c.in["VpcId"] == nil:
		return badRequest("VPCIdNotSpecified", "No default VPC for this user")
	case in == nil:
		return badRequest("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", text(c.in["VpcId"]))
	case !groupPattern.MatchString(name) || strings.HasPrefix(name, "sg-"):
		return badRequest("InvalidParameterValue", "Invalid security group name '%s'. Valid names are 1 to 255 of a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$*, and do not begin with sg-.", name)
	case !groupPattern.MatchString(description):
		return badRequest("InvalidParameterValue", "Invalid security group description. Valid descriptions are strings less than 256 characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*")
	}
	for _, each := range c.region.groups {
		if each.name == name && each.vpc == in {
			return badRequest("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, in.id)
		}
	}
	made := &group{name: name, description: description, vpc: in, tags: map[string]string{}, hidden: s.opts.Lag}
	if refused := tagKinds(c.in, map[string]map[string]string{"security-group": made.tags}); refused != nil {
		return nil, refused
	}
	made.id = s.newID("sg")
	c.region.groups[made.id] = made
	return object{"GroupId": made.id, "Tags": showTags(made.tags), "SecurityGroupArn": arn("ec2", c.region.name, "security-group/"+made.id)}, nil
}

func (s *Server) describeGroups(c *call) (object, *failure) {
	wanted := texts(c.in["GroupIds"])
	for _, id := range wanted {
		if c.region.group(id) == nil {
			return nil, noGroup(id)
		}
	}
	for _, name := range texts(c.in["GroupNames"]) {
		found := c.region.groupNamed(name)
		if found == nil {
			return nil, noGroup(name)
		}
		wanted = append(wanted, found.id)
	}
	ids, next, refused := s.page(c.in, slices.Sorted(maps.Keys(c.region.groups)), wanted, 5)
	if refused != nil {
		return nil, refused
	}
	var shown []any
	for _, id := range ids {
		each := c.region.groups[id]
		ok, refused := matches(c.in["Filters"], each.tags, map[string][]string{"group-id": {id}, "group-name": {each.name}, "vpc-id": {each.vpc.id}, "description": {each.description}, "owner-id": {Account}})
		if refused != nil {
			return nil, refused
		}
		if !ok || len(wanted) == 0 && c.region.group(id) == nil {
			continue
		}
		shown = append(shown, showGroup(c.region, each))
	}
	return paged(object{"SecurityGroups": orNone(shown)}, next), nil
}

func showGroup(r *region, each *group) object {
	permissions := []any{}
	for _, one := range each.rules {
		permissions = append(permissions, one.show())
	}
	return object{
		"GroupId": each.id, "GroupName": each.name, "Description": each.description, "VpcId": each.vpc.id, "OwnerId": Account, "Tags": showTags(each.tags),
		"SecurityGroupArn": arn("ec2", r.name, "security-group/"+each.id), "IpPermissions": permissions,
		"IpPermissionsEgress": []any{object{"IpProtocol": "-1", "IpRanges": []any{object{"CidrIp": "0.0.0.0/0"}}}},
	}
}

func (r rule) show() object {
	out := object{"IpProtocol": r.protocol}
	if r.versionSix {
		out["Ipv6Ranges"] = []any{described(object{"CidrIpv6": r.from}, r.note)}
	} else {
		out["IpRanges"] = []any{described(object{"CidrIp": r.from}, r.note)}
	}
	if !r.any {
		out["FromPort"], out["ToPort"] = r.low, r.high
	}
	return out
}

func described(o object, note string) object {
	if note != "" {
		o["Description"] = note
	}
	return o
}

func (s *Server) authorizeIngress(c *call) (object, *failure) {
	found, refused := c.theGroup()
	if refused != nil {
		return nil, refused
	}
	permissions := list(c.in["IpPermissions"])
	if c.in["CidrIp"] != nil {
		permissions = append(permissions, object{"IpProtocol": c.in["IpProtocol"], "FromPort": c.in["FromPort"], "ToPort": c.in["ToPort"], "IpRanges": []any{object{"CidrIp": c.in["CidrIp"]}}})
	}
	var added []rule
	for _, each := range permissions {
		rules, refused := readRules(part(each))
		if refused != nil {
			return nil, refused
		}
		added = append(added, rules...)
	}
	if len(added) == 0 {
		return badRequest("MissingParameter", "The request must contain the parameter ipPermissions")
	}
	for i, each := range added {
		if slices.ContainsFunc(slices.Concat(found.rules, added[:i]), func(r rule) bool { return r.String() == each.String() }) {
			return badRequest("InvalidPermission.Duplicate", "the specified rule \"peer: %s, %s, from port: %d, to port: %d, ALLOW\" already exists", each.from, strings.ToUpper(each.protocol), each.low, each.high)
		}
	}
	tags := map[string]string{}
	if refused := tagKinds(c.in, map[string]map[string]string{"security-group-rule": tags}); refused != nil {
		return nil, refused
	}
	found.rules = append(found.rules, added...)
	var shown []any
	for _, each := range added {
		s.ingress = append(s.ingress, strings.Join([]string{c.region.name, found.id, each.String()}, " "))
		one := object{"SecurityGroupRuleId": s.newID("sgr"), "GroupId": found.id, "GroupOwnerId": Account, "IsEgress": false, "IpProtocol": each.protocol, "FromPort": each.low, "ToPort": each.high, "Tags": showTags(tags)}
		if each.versionSix {
			one["CidrIpv6"] = each.from
		} else {
			one["CidrIpv4"] = each.from
		}
		shown = append(shown, described(one, each.note))
	}
	return object{"Return": true, "SecurityGroupRules": shown}, nil
}

var protocols = []string{"tcp", "udp", "icmp", "icmpv6", "-1"}

// readRules reads one permission.
func readRules(permission object) ([]rule, *failure) {
	base := rule{protocol: text(permission["IpProtocol"]), low: number(permission["FromPort"]), high: number(permission["ToPort"])}
	base.any = base.protocol == "-1"
	switch {
	case !slices.Contains(protocols, base.protocol):
		return nil, refuse(http.StatusBadRequest, "InvalidParameterValue", "Invalid value '%s' for IP protocol. Unknown protocol.", base.protocol)
	case permission["UserIdGroupPairs"] != nil || permission["PrefixListIds"] != nil:
		return nil, refuse(http.StatusBadRequest, "InvalidRequest", "only ranges of addresses are served here")
	case !base.any && (permission["FromPort"] == nil || permission["ToPort"] == nil):
		return nil, refuse(http.StatusBadRequest, "InvalidParameterValue", "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
	case (base.protocol == "tcp" || base.protocol == "udp") && (base.low < 0 || base.high > 65535 || base.low > base.high):
		return nil, refuse(http.StatusBadRequest, "InvalidParameterValue", "Invalid TCP/UDP port range (%d:%d)", base.low, base.high)
	}
	var rules []rule
	for _, each := range slices.Concat(list(permission["IpRanges"]), list(permission["Ipv6Ranges"])) {
		one := base
		one.from, one.note = text(part(each)["CidrIp"]), text(part(each)["Description"])
		if part(each)["CidrIpv6"] != nil {
			one.from, one.versionSix = text(part(each)["CidrIpv6"]), true
		}
		prefix, err := netip.ParsePrefix(one.from)
		if err != nil || prefix.Addr().Is6() != one.versionSix {
			return nil, refuse(http.StatusBadRequest, "InvalidParameterValue", "CIDR block %s is malformed", one.from)
		}
		one.from = prefix.Masked().String()
		rules = append(rules, one)
	}
	return rules, nil
}

func (s *Server) deleteGroup(c *call) (object, *failure) {
	found, refused := c.theGroup()
	if refused != nil {
		return nil, refused
	}
	s.settleAll(c.region)
	for _, i := range c.region.instances {
		if i.state != terminated && slices.Contains(i.groups, found) {
			return badRequest("DependencyViolation", "resource %s has a dependent object", found.id)
		}
	}
	switch {
	case found.name == "default":
		return badRequest("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", found.id)
	case found.lingering > 0:
		found.lingering--
		return badRequest("DependencyViolation", "resource %s has a dependent object", found.id)
	}
	delete(c.region.groups, found.id)
	return object{"Return": true, "GroupId": found.id}, nil
}
