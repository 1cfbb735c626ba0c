package awstest

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// machineImage is one AMI.
type machineImage struct {
	id         string
	in         object // of the call that registered it, or registered what it is a copy of
	name       string
	snapshot   string
	sizeGiB    int64
	source     string // region and id of what it is a copy of, or its instance was launched of
	tags       map[string]string
	created    time.Time
	deprecated string
	protected  string            // empty: disabled
	shared     map[string]string // "userId 1234" and such, to the kind
	hidden     int
	pending    int
	owner      string // empty: the account
	alias      string // of the owner
	instance   string // that CreateImage made it of
	building   bool   // its disk is being read
	failed     bool
}

func (r *region) image(id string) *machineImage {
	found := r.images[id]
	if found == nil || !found.visible() {
		return nil
	}
	if found.hidden > 0 {
		found.hidden--
		return nil
	}
	return found
}

// ownImage is one that the caller can see by now, and may change.
func (r *region) ownImage(id string) (*machineImage, *failure) {
	found := r.image(id)
	switch {
	case found == nil:
		return nil, noImage(id)
	case found.owner != "":
		return nil, refuse(http.StatusForbidden, "AuthFailure", "Not authorized for images: [%s]", id)
	}
	return found, nil
}

func noImage(id string) *failure {
	return refuse(http.StatusBadRequest, "InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
}

func badRequest(code, format string, args ...any) (object, *failure) {
	return nil, refuse(http.StatusBadRequest, code, format, args...)
}

// The characters of an AMI's name, by RegisterImage's reference.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]{3,128}$`)

// nameFree refuses a name that is taken in the region.
func (r *region) nameFree(name string) *failure {
	if !namePattern.MatchString(name) {
		return refuse(http.StatusBadRequest, "InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'")
	}
	for _, each := range r.images {
		if each.name == name && each.owner == "" {
			return refuse(http.StatusBadRequest, "InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, each.id)
		}
	}
	return nil
}

func (s *Server) registerImage(c *call) (object, *failure) {
	in := c.in
	if refused := c.region.nameFree(text(in["Name"])); refused != nil {
		return nil, refused
	}
	var root object
	for _, each := range list(in["BlockDeviceMappings"]) {
		if text(part(each)["DeviceName"]) == text(in["RootDeviceName"]) {
			root = part(part(each)["Ebs"])
		}
		if part(part(each)["Ebs"])["Encrypted"] != nil || part(part(each)["Ebs"])["KmsKeyId"] != nil {
			return badRequest("InvalidParameterCombination", "the encryption of a snapshot cannot be changed in RegisterImage")
		}
	}
	if root == nil {
		return badRequest("InvalidBlockDeviceMapping", "The root device is not in the block device mapping")
	}
	id := text(root["SnapshotId"])
	from := c.region.snapshot(id)
	switch {
	case from == nil:
		return badRequest("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	case from.shownState() != "completed":
		return badRequest("IncorrectState", "The snapshot '%s' is not 'completed'", id)
	case root["VolumeSize"] != nil && number(root["VolumeSize"]) < from.sizeGiB:
		return badRequest("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", number(root["VolumeSize"]), id, from.sizeGiB)
	case root["Iops"] != nil && number(root["Iops"]) < 3000, root["Throughput"] != nil && text(root["VolumeType"]) != "gp3":
		return badRequest("InvalidParameterCombination", "the volume's performance does not fit its type")
	case text(in["VirtualizationType"]) != "hvm":
		return badRequest("InvalidParameterValue", "the virtualization type is paravirtual unless set, which takes a kernel")
	case truth(in["EnaSupport"]) && text(in["VirtualizationType"]) != "hvm":
		return badRequest("InvalidParameterCombination", "ENA wants hvm")
	case text(in["Architecture"]) == "arm64" && text(in["BootMode"]) == "legacy-bios":
		return badRequest("InvalidParameterCombination", "arm64 boots with uefi alone")
	case in["TpmSupport"] != nil && text(in["BootMode"]) != "uefi":
		return badRequest("InvalidParameterCombination", "NitroTPM wants the boot mode uefi")
	}
	tags := map[string]string{}
	if refused := tagKinds(in, map[string]map[string]string{"image": tags}); refused != nil {
		return nil, refused
	}
	made := s.newImage(c.region, in, text(in["Name"]), id, from.sizeGiB)
	made.tags = tags
	return object{"ImageId": made.id}, nil
}

// newImage is called when nothing can go wrong any more.
func (s *Server) newImage(r *region, in object, name, snapshot string, sizeGiB int64) *machineImage {
	made := &machineImage{
		id: s.newID("ami"), in: in, name: name, snapshot: snapshot, sizeGiB: sizeGiB, tags: map[string]string{}, shared: map[string]string{},
		created: s.opts.Now().UTC(), hidden: s.opts.Lag, pending: s.opts.Lag,
	}
	r.images[made.id] = made
	return made
}

func (s *Server) copyImage(c *call) (object, *failure) {
	in := c.in
	token, summary := "copy "+text(in["ClientToken"]), fmt.Sprint(in)
	if made, ok := c.region.tokens[token]; ok && in["ClientToken"] != nil {
		id, before, _ := strings.Cut(made, " ")
		if before != summary {
			return badRequest("IdempotentParameterMismatch", "The client token was used with other parameters")
		}
		return object{"ImageId": id}, nil
	}
	origin := s.regions[text(in["SourceRegion"])]
	if origin == nil {
		return badRequest("InvalidRequest", "The source region is not known")
	}
	from := origin.image(text(in["SourceImageId"]))
	switch {
	case from == nil:
		return nil, noImage(text(in["SourceImageId"]))
	case from.owner != "":
		return badRequest("InvalidRequest", "You do not have permission to access the storage of this ami")
	case from.state() != "available":
		return badRequest("InvalidRequest", "Image %s is not in the state available", from.id)
	case in["KmsKeyId"] != nil && !truth(in["Encrypted"]):
		return badRequest("InvalidParameterCombination", "a KMS key wants Encrypted")
	}
	if key := text(in["KmsKeyId"]); strings.HasPrefix(key, "arn:") && !strings.Contains(key, ":"+c.region.name+":") {
		return badRequest("InvalidParameterValue", "the key %s is not in %s", key, c.region.name)
	}
	if refused := c.region.nameFree(text(in["Name"])); refused != nil {
		return nil, refused
	}
	before := origin.snapshots[from.snapshot]
	copied := *before
	copied.id, copied.tags, copied.hidden, copied.pending, copied.state = s.newID("snap"), map[string]string{}, 0, 0, "completed"
	copied.description = fmt.Sprintf("Copied for DestinationAmi from SourceAmi %s for SourceSnapshot %s.", from.id, before.id)
	if truth(in["Encrypted"]) || s.opts.EncryptByDefault {
		copied.encrypted, copied.key = true, cmp.Or(text(in["KmsKeyId"]), defaultKey(c.region.name))
	}
	tags := map[string]string{}
	if refused := tagKinds(in, map[string]map[string]string{"image": tags, "snapshot": copied.tags}); refused != nil {
		return nil, refused
	}
	c.region.snapshots[copied.id] = &copied
	made := s.newImage(c.region, from.in, text(in["Name"]), copied.id, from.sizeGiB)
	made.tags, made.source = tags, origin.name+" "+from.id
	if in["ClientToken"] != nil {
		c.region.tokens[token] = made.id + " " + summary
	}
	return object{"ImageId": made.id}, nil
}

func (s *Server) deregisterImage(c *call) (object, *failure) {
	found, refused := c.region.ownImage(text(c.in["ImageId"]))
	if refused != nil {
		return nil, refused
	}
	if found.protected != "" {
		return badRequest("OperationNotPermitted", "The image %s has deregistration protection enabled", found.id)
	}
	delete(c.region.images, found.id)
	return nil, nil
}
