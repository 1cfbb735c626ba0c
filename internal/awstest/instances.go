package awstest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// instance is a machine, or what is left of one.
type instance struct {
	id, image, kind string
	in              object // of the call that made it
	architecture    string
	bootMode        string
	imds            string // "required" or "optional"
	hops            int64
	subnet          *subnet
	groups          []*group
	public          bool // has an address outside
	private         string
	root            *volume
	rootDevice      string
	tags            map[string]string
	launched, ended time.Time
	terminates      bool // when it switches itself off
	protected       bool
	inherited       object // what its image hands on to those that are made of it
	stillborn       bool   // it will not run

	state    string
	hidden   int
	wait     int // how often the state will be seen yet
	jobs     int // what the hypervisor has to do yet
	last     chan struct{}
	started  bool
	address  string
	told     string    // by the hypervisor, if it went wrong
	reason   [2]string // code and message
	reported string    // transition reason
}

// The states of instances.
const (
	pending      = "pending"
	running      = "running"
	shuttingDown = "shutting-down"
	terminated   = "terminated"
	stopping     = "stopping"
	stopped      = "stopped"
)

var stateCodes = map[string]int64{pending: 0, running: 16, shuttingDown: 32, terminated: 48, stopping: 64, stopped: 80}

// understood are the parameters of RunInstances that are served.
var understood = []string{
	"ImageId", "InstanceType", "MinCount", "MaxCount", "KeyName", "SecurityGroupIds", "SecurityGroups", "SubnetId", "UserData", "TagSpecifications", "BlockDeviceMappings",
	"MetadataOptions", "NetworkInterfaces", "ClientToken", "DryRun", "InstanceInitiatedShutdownBehavior", "DisableApiTermination", "IamInstanceProfile", "EbsOptimized", "Monitoring", "Placement",
}

func (s *Server) runInstances(c *call) (object, *failure) {
	in := c.in
	token, summary := "run "+text(in["ClientToken"]), fmt.Sprint(in)
	if made, ok := c.region.tokens[token]; ok && in["ClientToken"] != nil {
		ids, before, _ := strings.Cut(made, " ")
		if before != summary {
			return badRequest("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
		}
		return s.reservation(c.region, strings.Split(ids, ",")), nil
	}
	for name := range in {
		if !slices.Contains(understood, name) {
			return badRequest("InvalidRequest", "%s is not served here", name)
		}
	}
	l := &launch{Server: s, call: c}
	for _, check := range []func() *failure{l.checkCount, l.checkImage, l.checkType, l.checkKey, l.checkNetwork, l.checkDisk, l.checkRest} {
		if refused := check(); refused != nil {
			return nil, refused
		}
	}
	instanceTags, volumeTags := map[string]string{}, map[string]string{}
	if refused := tagKinds(in, map[string]map[string]string{"instance": instanceTags, "volume": volumeTags, "network-interface": {}}); refused != nil {
		return nil, refused
	}
	var ids []string
	for range number(in["MaxCount"]) {
		ids = append(ids, l.make(instanceTags, volumeTags).id)
	}
	if in["ClientToken"] != nil {
		c.region.tokens[token] = strings.Join(ids, ",") + " " + summary
	}
	return s.reservation(c.region, ids), nil
}

// reservation shows instances that one call made.
func (s *Server) reservation(r *region, ids []string) object {
	var shown []any
	for _, id := range ids {
		if i := r.instances[id]; i != nil {
			shown = append(shown, s.showInstance(i, false))
		}
	}
	return object{"ReservationId": reservationID(ids[0]), "OwnerId": Account, "Groups": []any{}, "Instances": orNone(shown)}
}

func reservationID(id string) string { return "r-" + strings.TrimPrefix(id, "i-") }

// launch is one call of RunInstances.
type launch struct {
	*Server
	*call
	from     *machineImage
	kind     string
	key      *keyPair
	subnet   *subnet
	groups   []*group
	public   bool
	root     volume // as it will be
	userData []byte
}

func (l *launch) checkCount() *failure {
	low, high := number(l.in["MinCount"]), number(l.in["MaxCount"])
	switch {
	case low < 1 || high < low:
		return refuse(http.StatusBadRequest, "InvalidParameterValue", "Value (%d) for parameter minCount is invalid. It may not be greater than maxCount (%d), nor less than one", low, high)
	case high > 20:
		return refuse(http.StatusBadRequest, "InstanceLimitExceeded", "You have requested more instances (%d) than your current instance limit of 20 allows", high)
	}
	return nil
}

func (l *launch) checkImage() *failure {
	id := text(l.in["ImageId"])
	if id == "" {
		return refuse(http.StatusBadRequest, "MissingParameter", "The request must contain the parameter ImageId")
	}
	l.from = l.region.image(id)
	switch {
	case l.from == nil || !l.from.visible():
		return noImage(id)
	case l.from.state() != "available":
		return refuse(http.StatusBadRequest, "InvalidAMIID.Unavailable", "The image ID '[%s]' is no longer available", id)
	}
	return nil
}

// Families of instance types: those of Graviton have a g behind their
// generation; the old ones run on Xen and do without ENA.
var (
	graviton = regexp.MustCompile(`^(a1|[a-z]+\d+[a-z]*g[a-z]*)(-[a-z0-9]+)?\.`)
	xen      = regexp.MustCompile(`^(t[12]|m[1-4]|c[134]|r[34]|i2|d2|g[23]|p[23]|x1e?|h1|f1|cc2|cr1|hs1)\.`)
)

func (l *launch) checkType() *failure {
	l.kind = cmp.Or(text(l.in["InstanceType"]), "m1.small")
	have, wanted := "x86_64", cmp.Or(text(l.from.in["Architecture"]), "i386")
	if graviton.MatchString(l.kind) {
		have = "arm64"
	}
	switch {
	case strings.HasPrefix(l.kind, "m1."):
		return refuse(http.StatusBadRequest, "InvalidParameterCombination", "Non-Windows instances with a virtualization type of 'hvm' are currently not supported for this instance type : %s", l.kind)
	case have != wanted:
		return refuse(http.StatusBadRequest, "InvalidParameterValue", "The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", have, wanted)
	case !xen.MatchString(l.kind) && !truth(l.from.in["EnaSupport"]):
		return refuse(http.StatusBadRequest, "InvalidParameterCombination", "Enhanced networking with the Elastic Network Adapter (ENA) is required for the '%s' instance type. Ensure that you are using an AMI that is enabled for ENA.", l.kind)
	}
	return nil
}

func (l *launch) checkKey() *failure {
	name := text(l.in["KeyName"])
	if name == "" {
		return nil
	}
	if l.key = l.region.keyPair(name); l.key == nil {
		return noKeyPair(name)
	}
	return nil
}

const maxUserData = 16 << 10

func (l *launch) checkRest() *failure {
	var err error
	if l.userData, err = base64.StdEncoding.DecodeString(text(l.in["UserData"])); err != nil {
		return refuse(http.StatusBadRequest, "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	options := part(l.in["MetadataOptions"])
	hops := number(options["HttpPutResponseHopLimit"])
	zone := text(part(l.in["Placement"])["AvailabilityZone"])
	switch {
	case len(l.userData) > maxUserData:
		return refuse(http.StatusBadRequest, "InvalidParameterValue", "User data is limited to %d bytes", maxUserData)
	case options["HttpPutResponseHopLimit"] != nil && (hops < 1 || hops > 64):
		return refuse(http.StatusBadRequest, "InvalidParameterValue", "Value (%d) for parameter HttpPutResponseHopLimit is invalid. The value must be between 1 and 64", hops)
	case zone != "" && zone != l.subnet.zone:
		return refuse(http.StatusBadRequest, "InvalidParameterValue", "Invalid availability zone: [%s]; the subnet %s is in %s", zone, l.subnet.id, l.subnet.zone)
	}
	return nil
}

// make is called when nothing can go wrong any more.
func (l *launch) make(tags, volumeTags map[string]string) *instance {
	options := part(l.in["MetadataOptions"])
	imds := "optional"
	hops := int64(1)
	if text(l.from.in["ImdsSupport"]) == "v2.0" {
		imds, hops = "required", 2
	}
	if options["HttpPutResponseHopLimit"] != nil {
		hops = number(options["HttpPutResponseHopLimit"])
	}
	root := l.root
	root.id, root.tags, root.created = l.newID("vol"), clone(volumeTags), l.opts.Now().UTC()
	i := &instance{
		id: l.newID("i"), image: l.from.id, kind: l.kind, in: l.in, architecture: text(l.from.in["Architecture"]), bootMode: text(l.from.in["BootMode"]),
		imds: cmp.Or(text(options["HttpTokens"]), imds), hops: hops, subnet: l.subnet, groups: l.groups, public: l.public, private: l.subnet.address(l.next),
		root: &root, rootDevice: text(l.from.in["RootDeviceName"]), tags: clone(tags), launched: l.opts.Now().UTC(),
		terminates: text(l.in["InstanceInitiatedShutdownBehavior"]) == "terminate", protected: truth(l.in["DisableApiTermination"]), inherited: object{}, stillborn: l.stillborn,
		state: pending, hidden: l.opts.Lag, wait: l.opts.Lag,
	}
	for _, name := range []string{"BootMode", "ImdsSupport", "TpmSupport"} {
		if l.from.in[name] != nil {
			i.inherited[name] = l.from.in[name]
		}
	}
	root.instance = i.id
	l.region.instances[i.id], l.region.volumes[root.id] = i, &root
	guest := Guest{
		ID: i.id, Region: l.region.name, Zone: l.subnet.zone, ImageID: i.image, InstanceType: i.kind, PrivateAddress: i.private, UserData: l.userData,
		MetadataVersion2: i.imds == "required", UEFI: strings.HasPrefix(i.bootMode, "uefi") && !xen.MatchString(i.kind),
	}
	for _, each := range i.groups {
		guest.Groups = append(guest.Groups, each.name)
	}
	if l.key != nil {
		guest.KeyName, guest.PublicKey = l.key.name, l.key.public
	}
	if !i.stillborn {
		l.powerOn(l.region, i, guest)
	}
	return i
}
