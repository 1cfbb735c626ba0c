package awstest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// remembered is how long a terminated instance is listed.
const remembered = time.Hour

// instance is one that the caller can see by now, in the state that it is in
// by now.
func (s *Server) instance(r *region, id string) *instance {
	i := r.instances[id]
	if i == nil {
		return nil
	}
	s.settle(r, i)
	if r.instances[id] == nil {
		return nil
	}
	if i.hidden > 0 {
		i.hidden--
		return nil
	}
	return i
}

func noInstances(ids []string) *failure {
	if len(ids) == 1 {
		return refuse(http.StatusBadRequest, "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", ids[0])
	}
	return refuse(http.StatusBadRequest, "InvalidInstanceID.NotFound", "The instance IDs '%s' do not exist", strings.Join(ids, ", "))
}

// theInstances are those that a call names: all of them, or none.
func (s *Server) theInstances(c *call, ids []string) ([]*instance, *failure) {
	var found []*instance
	var missing []string
	for _, id := range ids {
		if !strings.HasPrefix(id, "i-") {
			return nil, refuse(http.StatusBadRequest, "InvalidInstanceID.Malformed", "Invalid id: \"%s\"", id)
		}
		if i := s.instance(c.region, id); i != nil {
			found = append(found, i)
		} else {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return nil, noInstances(missing)
	}
	return found, nil
}

// settle moves an instance on when its state has been seen often enough and
// the hypervisor is done.
func (s *Server) settle(r *region, i *instance) {
	if i.state == terminated && s.opts.Now().Sub(i.ended) > remembered {
		delete(r.instances, i.id)
		return
	}
	if i.jobs > 0 || i.wait > 0 {
		return
	}
	switch i.state {
	case pending:
		if !i.stillborn {
			i.state = running
			return
		}
		i.reason = [2]string{"Server.InternalError", "Server.InternalError: Internal error on launch"}
		s.gone(r, i)
	case stopping:
		i.state = stopped
	case shuttingDown:
		s.gone(r, i)
	}
}

// end terminates an instance.
func (s *Server) end(i *instance) {
	i.state, i.wait = shuttingDown, s.opts.Lag
	s.powerGone(i)
}

// gone takes away what goes with an instance.
func (s *Server) gone(r *region, i *instance) {
	i.state, i.ended = terminated, s.opts.Now()
	for _, each := range i.groups {
		each.lingering = s.opts.Lag // its network interface is taken apart
	}
	if i.root.keep {
		i.root.instance = ""
		return
	}
	s.dropVolume(r, i.root)
}

func (s *Server) stopInstances(c *call) (object, *failure) {
	found, refused := s.theInstances(c, texts(c.in["InstanceIds"]))
	if refused != nil {
		return nil, refused
	}
	for _, i := range found {
		if i.state != running && i.state != stopping && i.state != stopped {
			return badRequest("IncorrectInstanceState", "This instance '%s' is not in a state from which it can be stopped.", i.id)
		}
	}
	var changes []any
	for _, i := range found {
		before := i.state
		if i.state == running {
			i.state, i.wait = stopping, s.opts.Lag
			i.reason = [2]string{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}
			i.reported = s.byUser()
			s.powerOff(i)
		}
		changes = append(changes, change(i, before))
	}
	return object{"StoppingInstances": changes}, nil
}

func (s *Server) byUser() string {
	return fmt.Sprintf("User initiated (%s GMT)", s.opts.Now().UTC().Format("2006-01-02 15:04:05"))
}

func change(i *instance, before string) object {
	return object{"InstanceId": i.id, "CurrentState": showState(i.state), "PreviousState": showState(before)}
}

func showState(state string) object { return object{"Code": stateCodes[state], "Name": state} }

func (s *Server) terminateInstances(c *call) (object, *failure) {
	found, refused := s.theInstances(c, texts(c.in["InstanceIds"]))
	if refused != nil {
		return nil, refused
	}
	for _, i := range found {
		if i.protected {
			return badRequest("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", i.id)
		}
	}
	var changes []any
	for _, i := range found {
		before := i.state
		if i.state != terminated && i.state != shuttingDown {
			i.reason = [2]string{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}
			i.reported = s.byUser()
			s.end(i)
		}
		changes = append(changes, change(i, before))
	}
	return object{"TerminatingInstances": changes}, nil
}

func (s *Server) consoleOutput(c *call) (object, *failure) {
	found, refused := s.theInstances(c, []string{text(c.in["InstanceId"])})
	if refused != nil {
		return nil, refused
	}
	out := object{"InstanceId": found[0].id, "Timestamp": s.opts.Now().UTC()}
	said := found[0].told
	if console, ok := s.opts.Hypervisor.(Console); ok && found[0].state != terminated {
		said += console.Console(found[0].id)
	}
	if len(said) > 64<<10 {
		said = said[len(said)-64<<10:]
	}
	if said != "" && found[0].state != pending {
		out["Output"] = base64.StdEncoding.EncodeToString([]byte(said))
	}
	return out, nil
}

func (s *Server) describeInstances(c *call) (object, *failure) {
	s.settleAll(c.region)
	wanted := texts(c.in["InstanceIds"])
	if _, refused := s.theInstances(c, wanted); refused != nil {
		return nil, refused
	}
	ids, next, refused := s.page(c.in, slices.Sorted(maps.Keys(c.region.instances)), wanted, 5)
	if refused != nil {
		return nil, refused
	}
	var shown []any
	for _, id := range ids {
		i := c.region.instances[id]
		ok, refused := matches(c.in["Filters"], i.tags, i.fields())
		if refused != nil {
			return nil, refused
		}
		if !ok || len(wanted) == 0 && s.instance(c.region, id) == nil {
			continue
		}
		shown = append(shown, object{"ReservationId": reservationID(id), "OwnerId": Account, "Groups": []any{}, "Instances": []any{s.showInstance(i, true)}})
	}
	return paged(object{"Reservations": orNone(shown)}, next), nil
}

// fields are what instances are filtered by.
func (i *instance) fields() map[string][]string {
	out := map[string][]string{
		"instance-id": {i.id}, "image-id": {i.image}, "instance-type": {i.kind}, "instance-state-name": {i.state}, "instance-state-code": {fmt.Sprint(stateCodes[i.state])},
		"client-token": {text(i.in["ClientToken"])}, "key-name": {text(i.in["KeyName"])}, "vpc-id": {i.subnet.vpc.id}, "subnet-id": {i.subnet.id}, "availability-zone": {i.subnet.zone},
		"reservation-id": {reservationID(i.id)}, "architecture": {i.architecture}, "instance.group-id": {}, "instance.group-name": {},
	}
	for _, each := range i.groups {
		out["instance.group-id"] = append(out["instance.group-id"], each.id)
		out["instance.group-name"] = append(out["instance.group-name"], each.name)
	}
	if i.state == terminated {
		out["vpc-id"], out["subnet-id"], out["instance.group-id"], out["instance.group-name"] = nil, nil, nil, nil
	}
	return out
}

// showInstance shows an instance; seen counts as one look at it.
func (s *Server) showInstance(i *instance, seen bool) object {
	shown := object{
		"InstanceId": i.id, "ImageId": i.image, "State": showState(i.state), "InstanceType": i.kind, "AmiLaunchIndex": int64(0), "LaunchTime": i.launched,
		"Placement": object{"AvailabilityZone": i.subnet.zone, "Tenancy": "default", "GroupName": ""}, "Monitoring": object{"State": "disabled"},
		"Architecture": i.architecture, "ClientToken": text(i.in["ClientToken"]), "EbsOptimized": truth(i.in["EbsOptimized"]), "EnaSupport": true, "Hypervisor": "xen", "VirtualizationType": "hvm",
		"RootDeviceName": i.rootDevice, "RootDeviceType": "ebs", "Tags": showTags(i.tags), "PrivateDnsName": "", "PublicDnsName": "", "PlatformDetails": "Linux/UNIX", "UsageOperation": "RunInstances",
		"StateTransitionReason": i.reported, "BlockDeviceMappings": []any{}, "SecurityGroups": []any{}, "NetworkInterfaces": []any{},
		"MetadataOptions": object{"State": "applied", "HttpTokens": i.imds, "HttpPutResponseHopLimit": i.hops, "HttpEndpoint": "enabled"},
	}
	if i.bootMode != "" {
		shown["BootMode"] = i.bootMode
	}
	if i.in["KeyName"] != nil {
		shown["KeyName"] = i.in["KeyName"]
	}
	if i.reason[0] != "" {
		shown["StateReason"] = object{"Code": i.reason[0], "Message": i.reason[1]}
	}
	if i.state != terminated {
		s.showAttached(i, shown)
	}
	if seen && i.wait > 0 {
		i.wait--
	}
	return shown
}

// showAttached shows what a terminated instance has no more.
func (s *Server) showAttached(i *instance, shown object) {
	var groups []any
	for _, each := range i.groups {
		groups = append(groups, object{"GroupId": each.id, "GroupName": each.name})
	}
	shown["SecurityGroups"], shown["SubnetId"], shown["VpcId"] = groups, i.subnet.id, i.subnet.vpc.id
	shown["PrivateIpAddress"], shown["SourceDestCheck"] = i.private, true
	if i.state == running && i.public {
		shown["PublicIpAddress"] = i.address
	} else if i.state == running {
		shown["PrivateIpAddress"] = i.address // there is no other way in
	}
	if i.state != pending { // the volume is attached by then
		shown["BlockDeviceMappings"] = []any{object{"DeviceName": i.rootDevice, "Ebs": object{
			"VolumeId": i.root.id, "Status": "attached", "AttachTime": i.launched, "DeleteOnTermination": !i.root.keep,
		}}}
	}
}
