package awstest

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
)

// vpc is a network; the default one is the standard.
type vpc struct {
	id, cidr string
	standard bool
}

// subnet is a part of a network, in one zone.
type subnet struct {
	id, cidr, zone string
	vpc            *vpc
	public         bool // what is launched in it has a public address unless asked otherwise
}

// address is the nth of a subnet.
func (n *subnet) address(nth int) string {
	base := netip.MustParsePrefix(n.cidr).Addr().As4()
	base[3] = byte(4 + nth%250) // the first four are Amazon's
	return netip.AddrFrom4(base).String()
}

// lay makes a region's networks: the default one, unless there shall be none,
// and one that the account has made, whose subnets give no public address.
func (s *Server) lay(r *region) {
	networks := []*vpc{{id: s.newID("vpc"), cidr: "10.20.0.0/16"}}
	if !s.opts.NoDefaultVPC {
		networks = append(networks, &vpc{id: s.newID("vpc"), cidr: "172.31.0.0/16", standard: true})
	}
	for _, each := range networks {
		r.vpcs[each.id] = each
		made := &group{id: s.newID("sg"), name: "default", description: "default VPC security group", vpc: each, tags: map[string]string{}}
		r.groups[made.id] = made
		for i, zone := range []string{"a", "b", "c"} {
			prefix := netip.MustParsePrefix(each.cidr).Addr().As4()
			prefix[2] = byte(16 * i)
			n := &subnet{id: s.newID("subnet"), cidr: netip.AddrFrom4(prefix).String() + "/20", zone: r.name + zone, vpc: each, public: each.standard}
			r.subnets[n.id] = n
		}
	}
}

func (r *region) defaultVPC() *vpc {
	for _, each := range r.vpcs {
		if each.standard {
			return each
		}
	}
	return nil
}

// checkNetwork finds the subnet and the groups, by either way to name them.
func (l *launch) checkNetwork() *failure {
	subnetID, groupIDs := text(l.in["SubnetId"]), texts(l.in["SecurityGroupIds"])
	var public any
	if cards := list(l.in["NetworkInterfaces"]); len(cards) > 0 {
		card := part(cards[0])
		switch {
		case len(cards) > 1 || number(card["DeviceIndex"]) != 0 || card["DeviceIndex"] == nil:
			return refuse(http.StatusBadRequest, "InvalidRequest", "only one network interface, with the device index 0, is served here")
		case subnetID != "":
			return refuse(http.StatusBadRequest, "InvalidParameterCombination", "Network interfaces and an instance-level subnet ID may not be specified on the same request")
		case len(groupIDs) > 0 || l.in["SecurityGroups"] != nil:
			return refuse(http.StatusBadRequest, "InvalidParameterCombination", "Network interfaces and an instance-level security groups may not be specified on the same request")
		}
		subnetID, groupIDs, public = text(card["SubnetId"]), texts(card["Groups"]), card["AssociatePublicIpAddress"]
	}
	if refused := l.chooseSubnet(subnetID); refused != nil {
		return refused
	}
	l.public = l.subnet.public
	if public != nil {
		l.public = truth(public)
	}
	for _, id := range groupIDs {
		found := l.region.group(id)
		switch {
		case found == nil:
			return noGroup(id)
		case found.vpc != l.subnet.vpc:
			return refuse(http.StatusBadRequest, "InvalidParameter", "Security group %s and subnet %s belong to different networks.", id, l.subnet.id)
		}
		l.groups = append(l.groups, found)
	}
	for _, name := range texts(l.in["SecurityGroups"]) {
		found := l.region.groupNamed(name)
		if subnetID != "" {
			return refuse(http.StatusBadRequest, "InvalidParameterCombination", "The parameter groupName cannot be used with the parameter subnet")
		}
		if found == nil {
			return noGroup(name)
		}
		l.groups = append(l.groups, found)
	}
	if len(l.groups) > 0 {
		return nil
	}
	for _, each := range l.region.groups {
		if each.name == "default" && each.vpc == l.subnet.vpc {
			l.groups = []*group{each}
		}
	}
	return nil
}

// chooseSubnet finds the subnet, or takes one of the default network.
func (l *launch) chooseSubnet(id string) *failure {
	if id != "" {
		if l.subnet = l.region.subnets[id]; l.subnet == nil {
			return refuse(http.StatusBadRequest, "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
		}
		return nil
	}
	zone := text(part(l.in["Placement"])["AvailabilityZone"])
	for _, each := range slices.Sorted(maps.Keys(l.region.subnets)) {
		n := l.region.subnets[each]
		if n.vpc.standard && (zone == "" || n.zone == zone) {
			l.subnet = n
			return nil
		}
	}
	if l.region.defaultVPC() == nil {
		return refuse(http.StatusBadRequest, "VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.")
	}
	return refuse(http.StatusBadRequest, "InvalidParameterValue", "Invalid availability zone: [%s]", zone)
}

func (s *Server) describeVPCs(c *call) (object, *failure) {
	wanted := texts(c.in["VpcIds"])
	for _, id := range wanted {
		if c.region.vpcs[id] == nil {
			return badRequest("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
		}
	}
	ids, next, refused := s.page(c.in, slices.Sorted(maps.Keys(c.region.vpcs)), wanted, 5)
	if refused != nil {
		return nil, refused
	}
	var shown []any
	for _, id := range ids {
		each := c.region.vpcs[id]
		standard := strconv.FormatBool(each.standard)
		ok, refused := matches(c.in["Filters"], nil, map[string][]string{"vpc-id": {id}, "is-default": {standard}, "isDefault": {standard}, "state": {"available"}, "cidr": {each.cidr}, "owner-id": {Account}})
		if refused != nil {
			return nil, refused
		}
		if ok {
			shown = append(shown, object{"VpcId": id, "CidrBlock": each.cidr, "IsDefault": each.standard, "State": "available", "OwnerId": Account, "InstanceTenancy": "default", "Tags": []any{}})
		}
	}
	return paged(object{"Vpcs": orNone(shown)}, next), nil
}

func (s *Server) describeSubnets(c *call) (object, *failure) {
	wanted := texts(c.in["SubnetIds"])
	for _, id := range wanted {
		if c.region.subnets[id] == nil {
			return badRequest("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
		}
	}
	ids, next, refused := s.page(c.in, slices.Sorted(maps.Keys(c.region.subnets)), wanted, 5)
	if refused != nil {
		return nil, refused
	}
	var shown []any
	for _, id := range ids {
		each := c.region.subnets[id]
		ok, refused := matches(c.in["Filters"], nil, map[string][]string{
			"subnet-id": {id}, "vpc-id": {each.vpc.id}, "availability-zone": {each.zone}, "availabilityZone": {each.zone}, "state": {"available"}, "cidr-block": {each.cidr},
			"default-for-az": {fmt.Sprint(each.vpc.standard)}, "defaultForAz": {fmt.Sprint(each.vpc.standard)}, "map-public-ip-on-launch": {fmt.Sprint(each.public)}, "owner-id": {Account},
		})
		if refused != nil {
			return nil, refused
		}
		if ok {
			shown = append(shown, object{
				"SubnetId": id, "VpcId": each.vpc.id, "CidrBlock": each.cidr, "AvailabilityZone": each.zone, "State": "available", "DefaultForAz": each.vpc.standard, "MapPublicIpOnLaunch": each.public,
				"AvailableIpAddressCount": int64(4091), "OwnerId": Account, "Tags": []any{}, "SubnetArn": arn("ec2", c.region.name, "subnet/"+id),
			})
		}
	}
	return paged(object{"Subnets": orNone(shown)}, next), nil
}
