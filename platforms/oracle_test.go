package platforms_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/platforms"
	"github.com/org/imagebuild-action/platforms/libvirt"
	"github.com/org/imagebuild-action/platforms/virtualbox"
	"github.com/org/imagebuild-action/platforms/vmware"
)

// oracle runs one of the scripts of oracles/, which say FAIL and exit non-zero
// when another program does not take what we wrote.
func oracle(t *testing.T, script string, env []string, artifacts ...string) {
	t.Helper()
	var out strings.Builder
	err := run.Run(t.Context(), run.Spec{
		Argv: append([]string{filepath.Join("..", "oracles", script)}, artifacts...), Env: run.Environ(env...),
		Stdout: &out, Stderr: &out, Group: true,
	})
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
}

// paths packs and returns the files of one kind.
func paths(t *testing.T, p platforms.Packer, job target.Job, kind image.Kind) (found []string) {
	t.Helper()
	for _, a := range mustPack(t, p, job) {
		if a.Kind == kind {
			found = append(found, filepath.Join(job.Dir, a.Path))
		}
	}
	return found
}

func TestVagrantTakesOurBoxes(t *testing.T) {
	if testing.Short() {
		t.Skip("Vagrant takes seconds to start")
	}
	testkit.Tool(t, "vagrant")
	var boxes []string
	for _, kind := range platforms.Kinds() {
		p, err := platforms.New(kind.Name, kind.Name, kind.New())
		if err != nil {
			t.Fatal(err)
		}
		if packer, ok := p.(platforms.Packer); ok {
			boxes = append(boxes, paths(t, packer, newJob(t), image.Box)...)
		}
	}
	oracle(t, "vagrant.sh", []string{"TMPDIR=" + t.TempDir()}, boxes...)
}

func TestQEMUTakesOurDisks(t *testing.T) {
	testkit.Tool(t, "qemu-img")
	p := libvirt.New("libvirt", libvirt.NewConfig())
	job := newJob(t)
	oracle(t, "qemu.sh", []string{"TMPDIR=" + t.TempDir()}, paths(t, p, job, image.QCOW2)...)
	raw := filepath.Join(t.TempDir(), "raw")
	for _, disk := range paths(t, p, job, image.QCOW2) {
		if err := run.Run(t.Context(), run.Spec{Argv: []string{"qemu-img", "convert", "-O", "raw", disk, raw}}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(raw); err != nil || !bytes.Equal(got, newDisk(1).bytes) {
			t.Errorf("QEMU reads another disk (%v)", err)
		}
	}
}

func TestVirtualBoxTakesOurImages(t *testing.T) {
	onlyForOracles(t)
	var files []string
	for _, edit := range []func(c *virtualbox.Config){
		func(*virtualbox.Config) {},
		func(c *virtualbox.Config) {
			c.Firmware, c.NIC, c.CPUs, c.Memory = target.UEFI, target.VirtioNet, 1, 2*size.GiB
		},
		func(c *virtualbox.Config) { c.Controller = target.LSILogic },
		func(c *virtualbox.Config) { c.Controller = target.IDE },
		func(c *virtualbox.Config) { c.Controller = target.VirtioSCSI },
		func(c *virtualbox.Config) { c.Controller, c.Firmware = target.NVMe, target.UEFI },
	} {
		config := virtualbox.NewConfig()
		edit(config)
		job := newJob(t)
		for _, a := range mustPack(t, virtualbox.New("virtualbox", config), job) {
			files = append(files, filepath.Join(job.Dir, a.Path))
		}
	}
	oracle(t, "virtualbox.sh", cacheHome(t), files...)
}

func TestVirtV2VTakesOurOVAs(t *testing.T) {
	onlyForOracles(t)
	files := paths(t, virtualbox.New("virtualbox", virtualbox.NewConfig()), newJob(t), image.OVA)
	for _, controller := range []target.Controller{target.PVSCSI, target.LSILogic, target.AHCI} {
		config := vmware.NewConfig()
		config.Controller = controller
		if controller == target.AHCI {
			config.Firmware, config.NIC = target.UEFI, target.E1000
		}
		files = append(files, paths(t, vmware.New("vmware", config), newJob(t), image.OVA)...)
	}
	oracle(t, "virt-v2v.sh", nil, files...)
}

func onlyForOracles(t *testing.T) {
	t.Helper()
	if os.Getenv("IMAGEBUILD_ORACLES") != "1" {
		t.Skip("set IMAGEBUILD_ORACLES=1: it installs a gigabyte")
	}
}

// cacheHome lets a script find what it made before.
func cacheHome(t *testing.T) []string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	return []string{"XDG_CACHE_HOME=" + dir}
}
