package ec2host

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
)

func TestMain(m *testing.M) {
	Relay()
	os.Exit(m.Run())
}

func TestMetadata(t *testing.T) {
	its := awstest.Guest{
		ID: "i-00000000000000001", Region: "eu-west-1", Zone: "eu-west-1a", ImageID: "ami-1", InstanceType: "t3.micro", PrivateAddress: "172.31.0.7",
		Groups: []string{"a", "b"}, KeyName: "k", PublicKey: "ssh-ed25519 AAAA", UserData: []byte("#cloud-config\n"), MetadataVersion2: true,
	}
	m := newMetadata(its, "127.0.1.1")
	ask := func(method, path string, header ...string) (int, string) {
		r := httptest.NewRequest(method, "http://169.254.169.254"+path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, tc := range []struct {
		method, life string
		want         int
	}{
		{"GET", "60", 405}, {"PUT", "", 400}, {"PUT", "0", 400}, {"PUT", "21601", 400}, {"PUT", "x", 400},
	} {
		if status, _ := ask(tc.method, "/latest/api/token", lifeHeader, tc.life); status != tc.want {
			t.Errorf("a token by %s for %q s: %d, want %d", tc.method, tc.life, status, tc.want)
		}
	}
	if status, _ := ask("PUT", "/latest/api/token", lifeHeader, "60", "X-Forwarded-For", "192.0.2.1"); status != 403 {
		t.Errorf("a token through a proxy: %d", status)
	}
	status, token := ask("PUT", "/latest/api/token", lifeHeader, "60")
	if status != 200 || token == "" {
		t.Fatalf("%d %s", status, token)
	}
	for _, each := range []string{"", "another"} {
		if status, _ := ask("GET", "/latest/meta-data/instance-id", tokenHeader, each); status != 401 {
			t.Errorf("with the token %q: %d", each, status)
		}
	}
	for path, want := range map[string]string{
		"/latest/meta-data/instance-id":               "i-00000000000000001",
		"/2009-04-04/meta-data/placement/":            "availability-zone\nregion",
		"/latest/meta-data/public-keys/":              "0=k",
		"/latest/meta-data/public-keys/0/":            "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key": "ssh-ed25519 AAAA\n",
		"/latest/user-data":                           "#cloud-config\n",
		"/latest/meta-data/local-hostname":            "ip-172-31-0-7.eu-west-1.compute.internal",
		"/latest/meta-data/network/interfaces/macs/":  cardAddress + "/",
		"/latest/":                                "dynamic/\nmeta-data/\nuser-data",
		"/latest/dynamic/instance-identity/":      "document",
		"/2021-03-23/meta-data/security-groups":   "a\nb",
		"/latest/meta-data/block-device-mapping/": "ami\nroot",
		"/latest/meta-data/network/interfaces/macs/" + cardAddress + "/device-number": "0",
	} {
		if status, text := ask("GET", path, tokenHeader, token); status != 200 || text != want {
			t.Errorf("%s: %d %q, want %q", path, status, text, want)
		}
	}
	for _, path := range []string{"/latest/meta-data/iam/", "/2035-01-01/meta-data/instance-id", "/latest/meta-data/instance"} {
		if status, _ := ask("GET", path, tokenHeader, token); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := ask(http.MethodPost, "/latest/meta-data/", tokenHeader, token); status != 405 {
		t.Errorf("POST: %d", status)
	}
	its.MetadataVersion2, its.PublicKey, its.UserData = false, "", nil
	m = newMetadata(its, "127.0.1.1")
	if status, _ := ask("GET", "/latest/meta-data/"); status != 200 {
		t.Errorf("version 1: %d", status)
	}
	for _, path := range []string{"/latest/user-data", "/latest/meta-data/public-keys/"} {
		if status, _ := ask("GET", path); status != 404 {
			t.Errorf("%s without one: %d", path, status)
		}
	}
}

func TestSystemUUID(t *testing.T) {
	uuid := systemUUID("i-1")
	if !regexp.MustCompile(`^ec2[0-9a-f]{5}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(uuid) || uuid == systemUUID("i-2") {
		t.Error(uuid)
	}
	if text := strings.Join(firmwareTables(awstest.Guest{ID: "i-1"}), " "); !strings.Contains(text, "serial="+uuid) {
		t.Error(text)
	}
}
