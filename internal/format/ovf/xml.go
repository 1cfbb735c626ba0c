package ovf

import "encoding/xml"

// The structs below are the envelope's elements in the order that the schema
// demands. Prefixes are written out: encoding/xml would declare a name space
// at every use, which VirtualBox's reader does not take.

type envelope struct {
	XMLName xml.Name `xml:"Envelope"`
	Lang    string   `xml:"xml:lang,attr"`
	Version string   `xml:"ovf:version,attr"`
	NS      string   `xml:"xmlns,attr"`
	NSOVF   string   `xml:"xmlns:ovf,attr"`
	NSRASD  string   `xml:"xmlns:rasd,attr"`
	NSVSSD  string   `xml:"xmlns:vssd,attr"`
	NSVBox  string   `xml:"xmlns:vbox,attr,omitempty"`
	NSVMW   string   `xml:"xmlns:vmw,attr,omitempty"`

	Files    []fileRef `xml:"References>File"`
	Disks    diskSection
	Networks networkSection
	System   system
}

type fileRef struct {
	Href string `xml:"ovf:href,attr"`
	ID   string `xml:"ovf:id,attr"`
	Size int64  `xml:"ovf:size,attr"`
}

type diskSection struct {
	XMLName xml.Name `xml:"DiskSection"`
	Info    string
	Disk    []diskDesc
}

type diskDesc struct {
	Capacity  int64  `xml:"ovf:capacity,attr"` // bytes
	Units     string `xml:"ovf:capacityAllocationUnits,attr"`
	ID        string `xml:"ovf:diskId,attr"`
	FileRef   string `xml:"ovf:fileRef,attr"`
	Format    string `xml:"ovf:format,attr"`
	Populated int64  `xml:"ovf:populatedSize,attr"` // bytes
	UUID      string `xml:"vbox:uuid,attr,omitempty"`
}

type networkSection struct {
	XMLName xml.Name `xml:"NetworkSection"`
	Info    string
	Network []network
}

type network struct {
	Name        string `xml:"ovf:name,attr"`
	Description string
}

type system struct {
	XMLName  xml.Name `xml:"VirtualSystem"`
	ID       string   `xml:"ovf:id,attr"`
	Info     string
	Name     string
	Product  product    `xml:"ProductSection"`
	Note     annotation `xml:"AnnotationSection"`
	OS       osSection  `xml:"OperatingSystemSection"`
	Hardware hardware   `xml:"VirtualHardwareSection"`
	Machine  *machine   `xml:"vbox:Machine"`
}

type product struct {
	Info    string
	Product string
	Version string
}

type annotation struct {
	Info string
	Text string `xml:"Annotation"`
}

type osSection struct {
	ID          int    `xml:"ovf:id,attr"`
	VMWType     string `xml:"vmw:osType,attr,omitempty"`
	Info        string
	Description string
	VBoxType    *vboxOSType `xml:"vbox:OSType"`
}

type vboxOSType struct {
	Required bool   `xml:"ovf:required,attr"`
	Type     string `xml:",chardata"`
}

type hardware struct {
	Info   string
	System settings
	Items  []item      `xml:"Item"`
	Config []vmwConfig `xml:"vmw:Config"`
}

type settings struct {
	Name       string `xml:"vssd:ElementName"`
	ID         int    `xml:"vssd:InstanceID"`
	Identifier string `xml:"vssd:VirtualSystemIdentifier"`
	Type       string `xml:"vssd:VirtualSystemType"`
}

// item is a CIM_ResourceAllocationSettingData; its elements are in
// alphabetical order.
type item struct {
	Address     string `xml:"rasd:Address,omitempty"`
	OnParent    string `xml:"rasd:AddressOnParent,omitempty"`
	Units       string `xml:"rasd:AllocationUnits,omitempty"`
	Automatic   string `xml:"rasd:AutomaticAllocation,omitempty"`
	Connection  string `xml:"rasd:Connection,omitempty"`
	Description string `xml:"rasd:Description,omitempty"`
	Name        string `xml:"rasd:ElementName"`
	Host        string `xml:"rasd:HostResource,omitempty"`
	ID          int    `xml:"rasd:InstanceID"`
	Parent      int    `xml:"rasd:Parent,omitempty"`
	SubType     string `xml:"rasd:ResourceSubType,omitempty"`
	Type        int    `xml:"rasd:ResourceType"`
	Quantity    int64  `xml:"rasd:VirtualQuantity,omitempty"`
}

type vmwConfig struct {
	Required bool   `xml:"ovf:required,attr"`
	Key      string `xml:"vmw:key,attr"`
	Value    string `xml:"vmw:value,attr"`
}
