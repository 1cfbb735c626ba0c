package ec2host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/org/imagebuild-action/internal/awstest"
)

// systemUUID is what EC2's firmware says of a system, as its serial number too:
// that it begins with ec2 is how a guest knows where it is (EC2's user guide,
// "Determine whether an instance is an EC2 instance").
func systemUUID(id string) string {
	digest := sha256.Sum256([]byte(id))
	text := "ec2" + hex.EncodeToString(digest[:])[3:32]
	return strings.Join([]string{text[:8], text[8:12], "4" + text[13:16], "8" + text[17:20], text[20:32]}, "-")
}

// firmwareTables are QEMU's arguments for SMBIOS, as a Nitro instance has them.
func firmwareTables(its awstest.Guest) []string {
	return []string{
		"-smbios", "type=0,vendor=Amazon EC2,version=1.0",
		"-smbios", "type=1,manufacturer=Amazon EC2,product=" + its.InstanceType + ",serial=" + systemUUID(its.ID),
		"-smbios", "type=2,manufacturer=Amazon EC2,asset=" + its.ID,
		"-smbios", "type=3,manufacturer=Amazon EC2,asset=Amazon EC2",
	}
}

// metadata is the service at 169.254.169.254 of one guest.
type metadata struct {
	its   awstest.Guest
	files map[string]string // by their paths below a version

	mu     sync.Mutex
	tokens map[string]time.Time // until when they are good
}

// versions are dates of the service's interface; only latest is no date.
var versions = []string{"1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"} //nolint:gochecknoglobals // a constant list

func newMetadata(its awstest.Guest, public string) *metadata {
	private := its.PrivateAddress
	host := "ip-" + strings.ReplaceAll(private, ".", "-") + "." + its.Region + ".compute.internal"
	card := "meta-data/network/interfaces/macs/" + cardAddress + "/"
	document, _ := json.Marshal(map[string]any{ // plain values
		"accountId": awstest.Account, "architecture": "x86_64", "availabilityZone": its.Zone, "imageId": its.ImageID, "instanceId": its.ID, "instanceType": its.InstanceType,
		"privateIp": private, "region": its.Region, "version": "2017-09-30",
	})
	files := map[string]string{
		"dynamic/instance-identity/document":    string(document),
		"meta-data/ami-id":                      its.ImageID,
		"meta-data/ami-launch-index":            "0",
		"meta-data/hostname":                    host,
		"meta-data/local-hostname":              host,
		"meta-data/instance-id":                 its.ID,
		"meta-data/instance-type":               its.InstanceType,
		"meta-data/instance-action":             "none",
		"meta-data/instance-life-cycle":         "on-demand",
		"meta-data/local-ipv4":                  private,
		"meta-data/public-ipv4":                 public,
		"meta-data/mac":                         cardAddress,
		"meta-data/placement/availability-zone": its.Zone,
		"meta-data/placement/region":            its.Region,
		"meta-data/profile":                     "default-hvm",
		"meta-data/security-groups":             strings.Join(its.Groups, "\n"),
		"meta-data/services/domain":             "amazonaws.com",
		"meta-data/services/partition":          "aws",
		"meta-data/block-device-mapping/ami":    "xvda",
		"meta-data/block-device-mapping/root":   "/dev/xvda",
		card + "device-number":                  "0",
		card + "interface-id":                   "eni-" + strings.TrimPrefix(its.ID, "i-"),
		card + "local-hostname":                 host,
		card + "local-ipv4s":                    guestAddress,
		card + "mac":                            cardAddress,
		card + "owner-id":                       awstest.Account,
		card + "subnet-ipv4-cidr-block":         metadataNet,
		card + "vpc-ipv4-cidr-block":            metadataNet,
	}
	if its.PublicKey != "" {
		files["meta-data/public-keys/0/openssh-key"] = its.PublicKey + "\n"
	}
	if len(its.UserData) > 0 {
		files["user-data"] = string(its.UserData)
	}
	return &metadata{its: its, files: files, tokens: map[string]time.Time{}}
}

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	lifeHeader  = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxLife     = 21600 // seconds
)

// ServeHTTP implements http.Handler.
func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/latest/api/token" {
		m.token(w, r)
		return
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case !m.allowed(r.Header.Get(tokenHeader)):
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	if path == "" {
		_, _ = fmt.Fprintln(w, strings.Join(versions, "\n")) // the guest may have gone
		return
	}
	version, rest, _ := strings.Cut(path, "/")
	text, found := m.read(strings.TrimSuffix(rest, "/"))
	if !slices.Contains(versions, version) || !found {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprint(w, text) // as above
}

// token hands out a session's (IMDSv2).
func (m *metadata) token(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.Header.Get(lifeHeader))
	switch {
	case r.Method != http.MethodPut:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case r.Header.Get("X-Forwarded-For") != "":
		w.WriteHeader(http.StatusForbidden)
		return
	case err != nil || seconds < 1 || seconds > maxLife:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	token := fmt.Sprintf("%s-token-%d==", m.its.ID, len(m.tokens))
	m.tokens[token] = time.Now().Add(time.Duration(seconds) * time.Second)
	w.Header().Set(lifeHeader, strconv.Itoa(seconds))
	_, _ = fmt.Fprint(w, token) // the guest may have gone
}

// allowed says whether a request may be answered: without a token only if none
// is demanded, and with one only if it is good.
func (m *metadata) allowed(token string) bool {
	if token == "" {
		return !m.its.MetadataVersion2
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.tokens[token])
}

// read is a file's text, or a folder's list.
func (m *metadata) read(path string) (string, bool) {
	if text, ok := m.files[path]; ok {
		return text, true
	}
	if path == "meta-data/public-keys" && m.its.PublicKey != "" {
		return "0=" + m.its.KeyName, true
	}
	names := map[string]bool{}
	for each := range m.files {
		rest, below := strings.CutPrefix(each, path+"/")
		if path == "" {
			rest, below = each, true
		}
		if name, _, folder := strings.Cut(rest, "/"); below && folder {
			names[name+"/"] = true
		} else if below {
			names[name] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), "\n"), len(names) > 0
}
