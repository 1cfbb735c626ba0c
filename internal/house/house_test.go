// Package house_test holds the rule that keeps the code navigable: imports go
// down only, and packages on one floor never import each other.
package house_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/org/imagebuild-action/"

// floors lists the house from the ground up. A package belongs to the first
// pattern that fits; "/..." includes everything below a folder.
var floors = [][]string{
	0: {"internal/fault", "internal/size", "internal/undo", "internal/redact", "internal/retry", "internal/ordered", "internal/fifo", "internal/house", "internal/ci", "internal/yamltext"},
	1: {"internal/image", "internal/guest", "internal/run", "internal/report", "internal/target", "internal/template", "internal/actionfile", "internal/journal"},
	2: {"internal/plan", "internal/format/tarball", "internal/testkit", "internal/githubtest/...", "internal/workflow", "internal/dockertest", "internal/tty", "internal/failure", "internal/awstest/..."},
	3: {"internal/format/...", "internal/chroot", "internal/ssh", "internal/cache", "internal/toolroot", "internal/userns", "internal/container", "internal/github", "internal/revision", "internal/dockertest", "internal/fetch", "internal/guestweb", "internal/amazon"},
	4: {"internal/tree", "internal/vm", "internal/artifact", "internal/entry", "platforms/internal/pack", "internal/extract", "internal/ebsdirect", "internal/source/ami"},
	5: {"internal/emit", "internal/engine", "internal/seal", "internal/bootfiles", "internal/vagrant", "internal/manifest", "internal/verify", "internal/source/bootstrap", "platforms/libvirt", "platforms/virtualbox", "platforms/vmware", "internal/source/image", "internal/source/iso", "platforms/aws", "internal/ec2host"},
	6: {"platforms", "provision/...", "internal/source", "internal/release"},
	7: {"internal/build"},
	8: {"internal/cli", "internal/action"},
	9: {"cmd/..."},
}

// sameFloor lists the imports between neighbours that the ground floors need:
// nouns may be made of nouns.
var sameFloor = map[string][]string{
	"internal/run":        {},
	"internal/target":     {"internal/image", "internal/report", "internal/journal", "internal/guest"},
	"internal/dockertest": {"internal/testkit"},
	"internal/awstest":    {"internal/awstest/model"},
}

func TestImportsGoDownOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		checkPackage(t, strings.TrimPrefix(pkg.ImportPath, module), pkg.Imports)
	}
	if seen < 10 {
		t.Fatalf("go list named only %d packages", seen)
	}
}

func checkPackage(t *testing.T, name string, imports []string) {
	t.Helper()
	own, ok := floorOf(name)
	if !ok {
		t.Errorf("%s has no floor: add it to floors", name)
		return
	}
	for _, imported := range imports {
		other, found := strings.CutPrefix(imported, module)
		if !found {
			continue
		}
		floor, ok := floorOf(other)
		switch {
		case !ok || floor < own:
		case floor > own:
			t.Errorf("%s (floor %d) imports %s (floor %d): imports go down only", name, own, other, floor)
		case !contains(sameFloor[name], other):
			t.Errorf("%s imports its neighbour %s on floor %d", name, other, own)
		}
	}
}

func floorOf(name string) (int, bool) {
	for floor, patterns := range floors {
		for _, pattern := range patterns {
			folder, below := strings.CutSuffix(pattern, "/...")
			if name == folder || below && strings.HasPrefix(name, folder+"/") {
				return floor, true
			}
		}
	}
	return 0, false
}

func contains(list []string, item string) bool {
	for _, each := range list {
		if each == item {
			return true
		}
	}
	return false
}
