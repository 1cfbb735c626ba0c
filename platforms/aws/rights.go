package aws

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	amisource "github.com/org/imagebuild-action/internal/source/ami"
)

// right is one action that publishing takes.
type right struct {
	action string
	copies bool // needed in the regions that are copied to, too
	home   bool // needed where the snapshot is written
	why    string
}

// rights are all that publishing a disk takes, in the order of their use.
func (c *Config) rights() []right {
	return slices.Concat(looking(), []right{
		{"ebs:StartSnapshot", false, true, "write the disk"},
		{"ebs:PutSnapshotBlock", false, true, "write the disk"},
		{"ebs:CompleteSnapshot", false, true, "write the disk"},
		{"ec2:RegisterImage", false, true, "make the AMI"},
	}, c.distributing())
}

// launchRights are all that an image of an instance takes.
func (c *Config) launchRights(source *amisource.Config) []right {
	where := right{"ec2:DescribeVpcs", false, true, "find the default VPC"}
	if source.Subnet != "" {
		where = right{"ec2:DescribeSubnets", false, true, "find the subnet's VPC"}
	}
	return slices.Concat(looking(), []right{
		where,
		{"ec2:DescribeInstances", false, true, "wait for the instance"},
		{"ec2:DescribeSecurityGroups", false, true, "find what is left"},
		{"ec2:DescribeKeyPairs", false, true, "find what is left"},
		{"ec2:ImportKeyPair", false, true, "enter the instance"},
		{"ec2:CreateSecurityGroup", false, true, "enter the instance"},
		{"ec2:AuthorizeSecurityGroupIngress", false, true, "enter the instance"},
		{"ec2:RunInstances", false, true, "run the steps"},
		{"ec2:GetConsoleOutput", false, true, "see why an instance failed"},
		{"ec2:StopInstances", false, true, "make the AMI"},
		{"ec2:CreateImage", false, true, "make the AMI"},
		{"ec2:TerminateInstances", false, true, "end the instance"},
		{"ec2:DeleteSecurityGroup", false, true, "remove what was around the instance"},
		{"ec2:DeleteKeyPair", false, true, "remove what was around the instance"},
	}, c.distributing())
}

func looking() []right {
	return []right{
		{"ec2:DescribeImages", true, true, "find what is there already, and wait"},
		{"ec2:DescribeSnapshots", true, true, "find what is there already, and wait"},
	}
}

// distributing are the rights that an AMI takes, however it was made.
func (c *Config) distributing() []right {
	all := []right{
		{"ec2:CreateTags", true, true, "tag what was made"},
		{"ec2:DeregisterImage", true, true, "take back what failed"},
		{"ec2:DeleteSnapshot", true, true, "take back what failed"},
	}
	if len(c.CopyTo) > 0 {
		all = append(all, right{"ec2:CopyImage", true, false, "copy the AMI"})
	}
	if len(c.ShareWith) > 0 {
		all = append(all, right{"ec2:ModifyImageAttribute", true, true, "share the AMI"})
	}
	if slices.Contains(c.ShareWith, public) {
		all = append(all,
			right{"ec2:GetImageBlockPublicAccessState", true, true, "see whether sharing publicly is blocked"},
			right{"ec2:GetEbsEncryptionByDefault", true, true, "see whether snapshots are encrypted anyway"})
	}
	if c.DeprecateAfter > 0 {
		all = append(all, right{"ec2:EnableImageDeprecation", true, true, "date the AMI"})
	}
	if c.Deregister != Unprotected {
		all = append(all,
			right{"ec2:EnableImageDeregistrationProtection", true, true, "protect the AMI"},
			right{"ec2:DisableImageDeregistrationProtection", true, true, "take back what failed"})
	}
	if c.SSMParameter != "" {
		all = append(all,
			right{"ssm:GetParameter", true, true, "see what the parameter holds"}, right{"ssm:PutParameter", true, true, "name the AMI"},
			right{"ssm:DeleteParameter", true, true, "take back what failed"})
	}
	return all
}

// statement is a part of an IAM policy.
type statement struct {
	Sid       string         `json:"Sid"`
	Effect    string         `json:"Effect"`
	Action    []string       `json:"Action"`
	Resource  []string       `json:"Resource"`
	Condition map[string]any `json:"Condition,omitempty"`
}

// Policy renders the least IAM policy that publishing a disk takes.
func (p *Platform) Policy() ([]byte, error) { return p.policy(p.config.rights(), nil) }

// LaunchPolicy renders the least IAM policy that an image of an instance takes.
func (p *Platform) LaunchPolicy(source any) ([]byte, error) {
	c, err := sourceOf(source)
	if err != nil {
		return nil, err
	}
	var around []string // what an instance is made of, besides images and snapshots
	for _, kind := range []string{"instance", "volume", "network-interface", "security-group", "key-pair", "subnet", "vpc"} {
		around = append(around, "arn:aws:ec2:"+p.config.Region+":*:"+kind+"/*")
	}
	return p.policy(p.config.launchRights(c), around)
}

// policy renders rights. around are the resources of an instance, if there is
// one.
func (p *Platform) policy(rights []right, around []string) ([]byte, error) {
	groups := map[string]*statement{}
	var order []string
	add := func(sid, action string, resources []string, condition map[string]any) {
		if groups[sid] == nil {
			groups[sid] = &statement{Sid: sid, Effect: "Allow", Resource: resources, Condition: condition}
			order = append(order, sid)
		}
		groups[sid].Action = append(groups[sid].Action, action)
	}
	c := &p.config
	ours := map[string]any{"StringLike": map[string]string{"aws:ResourceTag/" + tagRun: "*"}}
	regions := map[string]any{"StringEquals": map[string]any{"aws:RequestedRegion": c.regions()}}
	var images, snapshots, parameters []string
	for _, region := range c.regions() {
		images = append(images, "arn:aws:ec2:"+region+"::image/*")
		snapshots = append(snapshots, "arn:aws:ec2:"+region+"::snapshot/*")
		parameters = append(parameters, "arn:aws:ssm:"+region+":*:parameter/"+strings.TrimPrefix(c.SSMParameter, "/"))
	}
	nobody := []string{"arn:aws:ec2:*::image/" + noImage, "arn:aws:ec2:*::snapshot/" + noSnapshot}
	if around != nil {
		nobody = append(nobody, "arn:aws:ec2:*:*:instance/"+noInstance, "arn:aws:ec2:*:*:security-group/"+noGroup, "arn:aws:ec2:*:*:key-pair/"+noKey)
	}
	all := slices.Concat(images, snapshots, around)
	home := []string{"arn:aws:ec2:" + c.Region + "::snapshot/*"}
	for _, r := range rights {
		switch service, name, _ := strings.Cut(r.action, ":"); {
		case strings.HasPrefix(name, "Describe"), strings.HasPrefix(name, "Get") && service == "ec2" && name != "GetConsoleOutput":
			add("Look", r.action, []string{"*"}, regions) // EC2 knows no resources for these
		case service == "ebs":
			add("WriteDisk", r.action, home, nil)
		case service == "ssm":
			add("NameImage", r.action, parameters, nil)
		case name == "RegisterImage" || name == "CopyImage":
			add("MakeImage", r.action, slices.Concat(images, snapshots), nil)
		case name == "ImportKeyPair" || name == "CreateSecurityGroup" || name == "RunInstances" || name == "CreateImage":
			add("MakeInstance", r.action, all, nil)
		case name == "CreateTags":
			add("TagWhatIsOurs", r.action, all, nil)
		default: // what exists and carries our tag, and what never exists and is asked for in advance
			add("ChangeWhatIsOurs", r.action, all, ours)
			add("AskBeforehand", r.action, nobody, nil)
		}
	}
	if keys := c.keys(); len(keys) > 0 {
		for _, action := range []string{"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"} {
			add("UseKeys", action, keys, nil)
		}
	}
	document := struct {
		Version   string
		Statement []*statement
	}{Version: "2012-10-17"}
	for _, sid := range order {
		document.Statement = append(document.Statement, groups[sid])
	}
	text, err := json.MarshalIndent(document, "", "  ")
	return append(text, '\n'), fault.Wrap(fault.Bug, err)
}

// keys are the KMS keys that are named by their own ARN; an alias is no
// resource of IAM's.
func (c *Config) keys() []string {
	var keys []string
	for _, region := range c.regions() {
		if account, _, alias := strings.Cut(c.KMSKeys[region], ":alias/"); alias {
			keys = append(keys, account+":key/*")
		} else if account != "" {
			keys = append(keys, account)
		}
	}
	return keys
}
