package extract_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/gpt"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

const partBytes = 4 << 20

// part is a partition in the making: files for an ext4, or bytes at places.
type part struct {
	typ   gpt.GUID
	files map[string]string // a path that ends in "/" is a directory, a content that begins with "->" a symlink
	label string
	uuid  string
	bytes map[int64]string
	opts  []string // more for mke2fs
}

// disk makes a raw disk of the parts, partitioned as scheme says: gpt, mbr or
// none.
func disk(t *testing.T, scheme string, parts ...part) image.Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sectors := int64((len(parts) + 2) * partBytes / gpt.SectorSize)
	if scheme == "none" {
		sectors = partBytes / gpt.SectorSize
	}
	if err := f.Truncate(sectors * gpt.SectorSize); err != nil {
		t.Fatal(err)
	}
	table := gpt.Table{DiskGUID: gpt.GUID{1}, Sectors: sectors}
	for n, p := range parts {
		first := int64(n*partBytes/gpt.SectorSize) + gpt.AlignSectors
		if scheme == "none" {
			first = 0
		}
		if p.typ == (gpt.GUID{}) {
			p.typ = gpt.LinuxData
		}
		table.Partitions = append(table.Partitions, gpt.Partition{
			Type: p.typ, GUID: gpt.GUID{9, byte(n)}, First: first, Last: first + partBytes/gpt.SectorSize - 1, Name: fmt.Sprintf("part%d", n+1),
		})
		p.write(t, f, first*gpt.SectorSize)
	}
	switch scheme {
	case "gpt":
		if err := table.Write(f, nil); err != nil {
			t.Fatal(err)
		}
	case "mbr":
		script := "label: dos\nlabel-id: 0x1234abcd\nunit: sectors\n"
		for _, p := range table.Partitions {
			script += fmt.Sprintf("start=%d, size=%d, type=83\n", p.First, partBytes/gpt.SectorSize)
		}
		argv := []string{testkit.Tool(t, "sfdisk"), "-q", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--wipe-partitions", "never", path}
		if out, err := run.Output(t.Context(), run.Spec{Argv: argv, Stdin: strings.NewReader(script)}); err != nil {
			t.Fatal(err, out)
		}
	}
	opened, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

func (p part) write(t *testing.T, f *os.File, offset int64) {
	t.Helper()
	if p.files != nil {
		p.format(t, f, offset)
	}
	for at, text := range p.bytes {
		if _, err := f.WriteAt([]byte(text), offset+at); err != nil {
			t.Fatal(err)
		}
	}
}

// format makes a file system of the part's files.
func (p part) format(t *testing.T, f *os.File, offset int64) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(mapKeys(p.files)) {
		content, full := p.files[name], filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		switch target, link := strings.CutPrefix(content, "->"); {
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(full, 0o755))
		case link:
			err = errors.Join(err, os.Symlink(target, full))
		default:
			err = errors.Join(err, os.WriteFile(full, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	single := filepath.Join(t.TempDir(), "part")
	argv := slices.Concat([]string{testkit.Tool(t, "mke2fs"), "-q", "-F", "-t", "ext4", "-b", "1024", "-d", dir}, p.opts)
	if p.label != "" {
		argv = append(argv, "-L", p.label)
	}
	if p.uuid != "" {
		argv = append(argv, "-U", p.uuid)
	}
	if out, err := run.Output(t.Context(), run.Spec{Argv: append(argv, single, fmt.Sprintf("%dk", partBytes/1024))}); err != nil {
		t.Fatal(err, out)
	}
	content, err := os.ReadFile(single)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, offset); err != nil {
		t.Fatal(err)
	}
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// contents lists a tree, files with what is in them.
func contents(t *testing.T, d image.Disk) ([]string, error) {
	t.Helper()
	root, err := extract.Root(t.Context(), d)
	if err != nil {
		return nil, err
	}
	var all []string
	err = root.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
		line := e.Path
		switch e.Type {
		case image.Directory:
			line += "/"
		case image.File:
			text, err := io.ReadAll(content)
			if err != nil || int64(len(text)) != e.SizeBytes {
				return fmt.Errorf("%s: %d bytes of %d, %w", e.Path, len(text), e.SizeBytes, err)
			}
			line += "=" + string(text)
		case image.Symlink, image.Hardlink:
			line += "->" + e.Link
		}
		all = append(all, line)
		return nil
	})
	if !slices.IsSortedFunc(all[1:], func(a, b string) int {
		cut := func(s string) string { return strings.TrimSuffix(s[:strings.IndexAny(s+"=", "=>")], "/") }
		return strings.Compare(strings.TrimSuffix(cut(a), "-"), strings.TrimSuffix(cut(b), "-"))
	}) {
		t.Errorf("not in order: %q", all)
	}
	return all, err
}

func system(more map[string]string) map[string]string {
	files := map[string]string{"etc/os-release": "ID=debian", "usr/bin/": "", "sbin": "->usr/sbin", "boot/": "", "var/": "", "boot-loader": "between"}
	for name, content := range more {
		files[name] = content
	}
	return files
}

var plainRoot = []string{"./", "boot/", "boot-loader=between", "etc/", "etc/os-release=ID=debian", "sbin->usr/sbin", "usr/", "usr/bin/", "var/"}

func TestFindsTheRoot(t *testing.T) {
	data := part{files: map[string]string{"etc/passwd": "", "data": "x"}} // without /usr
	efi := part{typ: gpt.EFISystem, bytes: map[int64]string{82: "FAT32"}}
	for name, c := range map[string]struct {
		scheme string
		parts  []part
	}{
		"by its type":         {"gpt", []part{efi, {files: system(nil)}, {typ: gpt.LinuxRootX86, files: system(nil)}}},
		"by its content":      {"gpt", []part{efi, data, {files: system(nil)}}},
		"MBR":                 {"mbr", []part{data, {files: system(nil)}}},
		"no partitions":       {"none", []part{{files: system(nil)}}},
		"beside other things": {"gpt", []part{{bytes: map[int64]string{512: "LABELONE"}}, {bytes: map[int64]string{4086: "SWAPSPACE2"}}, {files: system(nil)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := contents(t, disk(t, c.scheme, c.parts...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plainRoot, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const (
	rootUUID = "00000000-0000-4000-8000-00000000000a"
	bootUUID = "00000000-0000-4000-8000-00000000000b"
)

func TestMerges(t *testing.T) {
	t.Parallel()
	boot := part{uuid: bootUUID, files: map[string]string{"vmlinuz": "kernel", "grub/grub.cfg": "menu"}}
	logs := part{label: "logs", files: map[string]string{"syslog": "line"}}
	state := part{files: map[string]string{"lib/dpkg": "packages", "log/": "", "log/hidden": "x"}}
	swap := part{bytes: map[int64]string{4086: "SWAPSPACE2"}}
	fstab := `# what is where
UUID=` + rootUUID + ` / ext4 errors=remount-ro 0 1
UUID="` + strings.ToUpper(bootUUID) + `" /boot ext4 defaults 0 2
LABEL=logs	/var/log ext4 defaults 0 2
/dev/sda4 /var/ ext4 defaults 0 2
UUID=1234-ABCD /boot/efi vfat umask=0077 0 1
/dev/vda5 none swap sw 0 0
/swapfile none swap sw 0 0
tmpfs /tmp tmpfs defaults 0 0
server:/export /mnt nfs defaults 0 0
/dev/sdb1 /srv/data ext4 nofail 0 0
/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0
`
	left := `# what is where
UUID=` + rootUUID + ` / ext4 errors=remount-ro 0 1
/swapfile none swap sw 0 0
tmpfs /tmp tmpfs defaults 0 0
server:/export /mnt nfs defaults 0 0
/dev/sdb1 /srv/data ext4 nofail 0 0
/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0
`
	root := part{uuid: rootUUID, files: system(map[string]string{"etc/fstab": fstab, "boot/under": "hidden", "var/under": "hidden"})}
	want := []string{
		"./", "boot/", "boot-loader=between", "boot/grub/", "boot/grub/grub.cfg=menu", "boot/vmlinuz=kernel", "etc/", "etc/fstab=" + left, "etc/os-release=ID=debian",
		"sbin->usr/sbin", "usr/", "usr/bin/", "var/", "var/lib/", "var/lib/dpkg=packages", "var/log/", "var/log/syslog=line",
	}
	got, err := contents(t, disk(t, "gpt", root, boot, logs, state, swap))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMergesFAT is a system that has its kernels on a FAT partition.
func TestMergesFAT(t *testing.T) {
	t.Parallel()
	path, dir := filepath.Join(t.TempDir(), "boot"), t.TempDir()
	if err := errors.Join(os.WriteFile(path, make([]byte, partBytes), 0o600), os.WriteFile(filepath.Join(dir, "vmlinuz-6.1.0"), []byte("kernel"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{testkit.Tool(t, "mkfs.vfat"), "-i", "abcd1234", path}, {testkit.Tool(t, "mcopy"), "-i", path, filepath.Join(dir, "vmlinuz-6.1.0"), "::"}} {
		if out, err := run.Output(t.Context(), run.Spec{Argv: argv}); err != nil {
			t.Fatal(err, out)
		}
	}
	fat, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root := part{files: system(map[string]string{"etc/fstab": "UUID=ABCD-1234 /boot vfat defaults 0 2"})}
	got, err := contents(t, disk(t, "gpt", root, part{bytes: map[int64]string{0: string(fat)}}))
	if err != nil || !slices.Contains(got, "boot/vmlinuz-6.1.0=kernel") || !slices.Contains(got, "etc/fstab=") {
		t.Errorf("%v, %q", err, got)
	}
}

// TestNames mounts one partition by each of the names that it has.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ scheme, spec string }{
		{"gpt", "UUID=" + bootUUID},
		{"gpt", "LABEL=boot"},
		{"gpt", "PARTLABEL=part2"},
		{"gpt", "PARTUUID=" + gpt.GUID{9, 1}.String()},
		{"gpt", "/dev/sda2"},
		{"gpt", "/dev/nvme0n1p2"},
		{"gpt", "/dev/disk/by-uuid/" + bootUUID},
		{"gpt", "/dev/disk/by-label/boot"},
		{"mbr", "PARTUUID=1234abcd-02"},
		{"mbr", "/dev/vda2"},
	} {
		root := part{files: system(map[string]string{"etc/fstab": c.spec + " /boot ext4"})}
		got, err := contents(t, disk(t, c.scheme, root, part{uuid: bootUUID, label: "boot", files: map[string]string{"vmlinuz": "kernel"}}))
		if err != nil || !slices.Contains(got, "boot/vmlinuz=kernel") || !slices.Contains(got, "etc/fstab=") {
			t.Errorf("%s: %v, %q", c.spec, err, got)
		}
	}
}

func TestRefused(t *testing.T) {
	with := func(fstab string) part { return part{files: system(map[string]string{"etc/fstab": fstab})} }
	raid, err := gpt.ParseGUID("a19d880f-05fc-4d3b-a006-743f0f84911e")
	if err != nil {
		t.Fatal(err)
	}
	is := func(offset int64, magic string) part { return part{bytes: map[int64]string{offset: magic}} }
	for name, c := range map[string]struct {
		parts []part
		want  []string
	}{
		"two roots":            {[]part{{files: system(nil)}, {files: system(nil)}}, []string{"more than one root", "partition 1, partition 2"}},
		"two by type":          {[]part{{typ: gpt.LinuxRootX86, files: system(nil)}, {typ: gpt.LinuxRootX86, files: system(nil)}}, []string{"more than one"}},
		"no system":            {[]part{{files: map[string]string{"data": "x"}}}, []string{"no root file system", "/etc"}},
		"empty":                {[]part{{}}, []string{"no root file system"}},
		"LVM":                  {[]part{is(512, "LABELONE")}, []string{"partition 1 holds LVM", "a plain ext4 partition"}},
		"LUKS":                 {[]part{is(0, "LUKS\xba\xbe")}, []string{"LUKS encryption"}},
		"RAID":                 {[]part{is(4096, "\xfc\x4e\x2b\xa9")}, []string{"RAID"}},
		"RAID, by its type":    {[]part{{typ: raid, files: system(nil)}}, []string{"partition 1 holds RAID"}},
		"Btrfs":                {[]part{{typ: gpt.LinuxRootX86, bytes: map[int64]string{65536 + 64: "_BHRfS_M"}}}, []string{"the root is in partition 1, which holds Btrfs", "a plain ext4 partition"}},
		"XFS":                  {[]part{is(0, "XFSB")}, []string{"XFS"}},
		"not unmounted":        {[]part{{files: system(nil), opts: []string{"-O", "^metadata_csum"}, bytes: map[int64]string{1024 + 0x3a: "\x00\x00"}}}, []string{"partition 1", "was not unmounted"}},
		"a part in LVM":        {[]part{with("/dev/mapper/vg-home /home ext4"), is(512, "LABELONE")}, []string{"/home is mounted from /dev/mapper/vg-home", "no partition of this disk"}},
		"a part in XFS":        {[]part{with("/dev/sda2 /var xfs"), is(0, "XFSB")}, []string{"/var is mounted from partition 2, which holds XFS"}},
		"a part in bad FAT":    {[]part{with("/dev/sda2 /boot vfat"), is(82, "FAT32")}, []string{"partition 2: the FAT file system is damaged"}},
		"on another disk":      {[]part{with("UUID=" + bootUUID + " /boot ext4")}, []string{"/boot", "no partition"}},
		"no mount point":       {[]part{with("/dev/sda2 /none ext4"), {files: map[string]string{"x": ""}}}, []string{"mount /none", "does not exist"}},
		"a file to mount on":   {[]part{with("/dev/sda2 /boot-loader ext4"), {files: map[string]string{"x": ""}}}, []string{"it is a file there"}},
		"a symlink":            {[]part{with("/dev/sda2 /sbin ext4"), {files: map[string]string{"x": ""}}}, []string{"it is a symlink there"}},
		"twice":                {[]part{with("/dev/sda2 /boot ext4\n/dev/sda2 /var ext4"), {files: map[string]string{"x": ""}}}, []string{"mounted there already"}},
		"fstab is a directory": {[]part{{files: system(map[string]string{"etc/fstab/": ""})}}, []string{"/etc/fstab", "not a file"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := contents(t, disk(t, "gpt", c.parts...))
			if err == nil {
				t.Fatalf("%q", got)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if fault.KindOf(err) != fault.Input {
				t.Errorf("of kind %v: %v", fault.KindOf(err), err)
			}
		})
	}
}

func TestWalkStops(t *testing.T) {
	t.Parallel()
	root := part{files: system(map[string]string{"etc/fstab": "/dev/sda2 /boot ext4"})}
	tree, err := extract.Root(t.Context(), disk(t, "gpt", root, part{files: map[string]string{"vmlinuz": "kernel"}}))
	if err != nil {
		t.Fatal(err)
	}
	measured, err := extract.Measure(t.Context(), tree)
	want := extract.Measured{Entries: 11, SizeBytes: int64(len("kernel") + len("ID=debian") + len("between")), Largest: "etc/os-release", LargestBytes: int64(len("ID=debian"))}
	if err != nil || measured != want {
		t.Errorf("%+v, %v; want %+v", measured, err, want)
	}
	entries := measured.Entries
	enough := errors.New("enough")
	for n := range entries {
		seen := 0
		err := tree.Walk(t.Context(), func(*image.Entry, io.Reader) error {
			if seen++; seen > n {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || seen != n+1 {
			t.Errorf("after %d of %d: %v", seen, n+1, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		seen = 0
		err = tree.Walk(ctx, func(*image.Entry, io.Reader) error {
			if seen++; seen == n {
				cancel()
			}
			return nil
		})
		if cancelled := errors.Is(err, context.Canceled); cancelled != (n > 0 && seen < entries) {
			t.Errorf("cancelled after %d: %v", n, err)
		}
		cancel()
	}
}

func TestPartition(t *testing.T) {
	const uuid = "b9b9b9b9-0000-4000-8000-000000000001"
	root := part{typ: gpt.LinuxRootX86, files: system(nil), label: "root", uuid: uuid}
	data := part{files: map[string]string{"etc/": "", "x": "y"}, uuid: "b9b9b9b9-0000-4000-8000-000000000002"}
	partitioned := disk(t, "gpt", data, root)
	for spec, want := range map[string]int{
		"UUID=" + uuid: 2, "LABEL=root": 2, "/dev/sda2": 2, "/dev/disk/by-uuid/" + uuid: 2,
		"UUID=" + data.uuid: -1, "/dev/sda1": -1, "/dev/mapper/root": -1, "": -1,
	} {
		got, err := extract.Partition(partitioned, spec)
		if want < 0 && err == nil || want >= 0 && (err != nil || got != want) {
			t.Errorf("root=%s: partition %d, %v", spec, got, err)
		}
	}
	whole := disk(t, "none", part{files: system(nil), uuid: uuid})
	if got, err := extract.Partition(whole, "UUID="+uuid); err != nil || got != 0 {
		t.Errorf("a disk without partitions: %d, %v", got, err)
	}
	if _, err := extract.Partition(disk(t, "gpt", data), "UUID="+uuid); err == nil {
		t.Error("a disk without a root has one")
	}
}
