package ami

import (
	"fmt"
	"strings"
	"testing"
)

type faultList []string

func (f *faultList) Add(field, format string, args ...any) {
	*f = append(*f, field+": "+fmt.Sprintf(format, args...))
}

func TestValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Config)
		want string // of the one fault; empty for none
	}{
		"id":             {func(c *Config) { c.ID = "ami-0123456789abcdef0" }, ""},
		"owner and name": {func(c *Config) { c.Owner, c.Name = "self", "golden-*" }, ""},
		"nothing":        {func(*Config) {}, ": which AMI is not said"},
		"a name alone":   {func(c *Config) { c.Name = "golden-*" }, "name: a name without an owner"},
		"an owner alone": {func(c *Config) { c.Owner = "self" }, "owner: which of the owner's AMIs"},
		"id and owner":   {func(c *Config) { c.ID, c.Owner = "ami-0123456789abcdef0", "self" }, "owner: the id says"},
		"id and name":    {func(c *Config) { c.ID, c.Name = "ami-0123456789abcdef0", "golden" }, "name: the id says"},
		"networks":       {func(c *Config) { c.ID, c.Allow = "ami-1", []string{"203.0.113.0/24", "198.51.100.7"} }, ""},
		"the world":      {func(c *Config) { c.ID, c.Allow = "ami-1", []string{"0.0.0.0/0"} }, "allow[0]: 0.0.0.0/0 lets everybody"},
		"IPv6":           {func(c *Config) { c.ID, c.Allow = "ami-1", []string{"2001:db8::/32"} }, "allow[0]: \"2001:db8::/32\" is no IPv4"},
		"no network":     {func(c *Config) { c.ID, c.Allow = "ami-1", []string{"203.0.113.7", "home"} }, "allow[1]: \"home\" is no IPv4"},
		"twice":          {func(c *Config) { c.ID, c.Allow = "ami-1", []string{"203.0.113.7", "203.0.113.7"} }, "allow[1]: 203.0.113.7 is there already"},
		"private": {func(c *Config) {
			c.ID, c.Private, c.Subnet, c.Allow = "ami-1", true, "subnet-1", []string{"10.0.0.0/8"}
		}, ""},
		"private, no subnet": {func(c *Config) { c.ID, c.Private, c.Allow = "ami-1", true, []string{"10.0.0.0/8"} }, "private: the subnets of a default VPC"},
		"private, who may?":  {func(c *Config) { c.ID, c.Private, c.Subnet = "ami-1", true, "subnet-1" }, "private: how this machine is seen"},
	} {
		t.Run(name, func(t *testing.T) {
			c := New()
			tc.edit(c)
			var faults faultList
			c.Validate(&faults)
			if want := min(len(tc.want), 1); len(faults) != want || want == 1 && !strings.HasPrefix(faults[0], tc.want) {
				t.Errorf("faults %q", faults)
			}
		})
	}
}

func TestPrefix(t *testing.T) {
	for text, want := range map[string]string{"203.0.113.7": "203.0.113.7/32", "203.0.113.7/24": "203.0.113.0/24"} {
		if got, err := Prefix(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}
