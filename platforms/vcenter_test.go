package platforms_test

import (
	"context"
	"crypto/sha1" //nolint:gosec // what the lease's manifest has
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/ovf/importer"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/platforms/vmware"
)

// TestVCenterTakesOurOVA imports the OVA into govmomi's simulated vCenter: the
// envelope through its OVF manager, the disk over a real NFC upload. Set
// IMAGEBUILD_OVA to judge a file of your own.
func TestVCenterTakesOurOVA(t *testing.T) {
	path := os.Getenv("IMAGEBUILD_OVA")
	if path == "" {
		path = paths(t, vmware.New("vmware", vmware.NewConfig()), newJob(t), image.OVA)[0]
	}
	var disk tarball.Member
	digest := sha1.New() //nolint:gosec // see above
	opened, err := ovf.WalkOVA(t.Context(), path, func(m tarball.Member, content io.Reader) error {
		if !strings.HasSuffix(m.Name, ".vmdk") {
			return nil
		}
		disk = m
		_, err := io.Copy(digest, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	simulator.Test(func(ctx context.Context, client *vim25.Client) {
		importInto(ctx, t, client, path, opened.Package, disk, hex.EncodeToString(digest.Sum(nil)))
	})
}

func importInto(ctx context.Context, t *testing.T, client *vim25.Client, path string, want ovf.Package, disk tarball.Member, sum string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	finder := find.NewFinder(client)
	datacenter := must(finder.DefaultDatacenter(ctx))(t)
	finder.SetDatacenter(datacenter)
	folders := must(datacenter.Folders(ctx))(t)
	imp := importer.Importer{
		Log: func(line string) (int, error) { t.Log(line); return len(line), nil }, Client: client, Finder: finder,
		Datacenter: datacenter, Datastore: must(finder.DefaultDatastore(ctx))(t), Folder: folders.VmFolder,
		ResourcePool: must(finder.ResourcePool(ctx, "DC0_H0/Resources"))(t),
		Archive:      &importer.TapeArchive{Path: path, Opener: importer.Opener{Client: client}},
	}
	info, lease, err := imp.ImportVApp(ctx, "*.ovf", importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Items) != 1 || info.Items[0].Path != disk.Name || info.Items[0].Size != disk.SizeBytes {
		t.Fatalf("items to upload: %+v", info.Items)
	}
	content, sizeBytes, err := imp.Archive.Open(disk.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	updater := lease.StartUpdater(ctx, info) // takes the upload's progress; without it the upload waits for ever
	defer updater.Done()
	if err := lease.Upload(ctx, info.Items[0], content, soap.Upload{ContentLength: sizeBytes}); err != nil {
		t.Fatal(err)
	}
	uploaded := must(lease.GetManifest(ctx))(t)
	if len(uploaded) != 1 || uploaded[0].Sha1 != sum || uploaded[0].Size != disk.SizeBytes {
		t.Errorf("uploaded %+v, want %d bytes with SHA-1 %s", uploaded, disk.SizeBytes, sum)
	}
	if err := lease.Complete(ctx); err != nil {
		t.Fatal(err)
	}
	checkMachine(ctx, t, object.NewVirtualMachine(client, info.Entity), want)
}

// checkMachine compares the machine that the simulator made with the envelope.
func checkMachine(ctx context.Context, t *testing.T, vm *object.VirtualMachine, want ovf.Package) {
	t.Helper()
	var got mo.VirtualMachine
	if err := vm.Properties(ctx, vm.Reference(), []string{"config"}, &got); err != nil {
		t.Fatal(err)
	}
	c := got.Config
	if c.Name != want.Name || int(c.Hardware.NumCPU) != want.Hardware.CPUs ||
		int64(c.Hardware.MemoryMB)<<20 != int64(want.Hardware.Memory) || c.GuestId == "" {
		t.Errorf("machine %s: %d CPUs, %d MiB, %s, %s; want %+v", c.Name, c.Hardware.NumCPU, c.Hardware.MemoryMB, c.GuestId, c.Firmware, want)
	}
	devices := object.VirtualDeviceList(c.Hardware.Device)
	disks := devices.SelectByType((*types.VirtualDisk)(nil))
	if len(disks) != 1 {
		t.Fatalf("%d disks", len(disks))
	}
	if d := disks[0].(*types.VirtualDisk); d.CapacityInBytes != want.Disks[0].CapacityBytes && d.CapacityInKB<<10 != want.Disks[0].CapacityBytes {
		t.Errorf("disk of %d bytes, %d KiB; want %d bytes", d.CapacityInBytes, d.CapacityInKB, want.Disks[0].CapacityBytes)
	}
	if n := len(devices.SelectByType((*types.ParaVirtualSCSIController)(nil))); n != 1 {
		t.Errorf("%d paravirtual SCSI controllers", n)
	}
	if n := len(devices.SelectByType((*types.VirtualVmxnet3)(nil))); n != 1 {
		t.Errorf("%d vmxnet3 cards", n)
	}
}

// must is for calls whose failure says nothing about us.
func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
