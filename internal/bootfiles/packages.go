package bootfiles

// RequiredPackages lists what Apply's files need at run time, and package emit
// to link the boot loader, on the distribution named ("debian", "ubuntu").
// The kernels are the ones with drivers for every platform: Debian's cloud
// kernel has no AHCI, LSI or e1000.
func RequiredPackages(osName string) []string {
	kernel := "linux-image-amd64"
	if osName == "ubuntu" {
		kernel = "linux-image-generic"
	}
	return []string{
		kernel, "initramfs-tools", "zstd", "kmod", "udev",
		"systemd-sysv", "dbus",
		"grub-common", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin",
		"e2fsprogs", "fdisk", "mount", "util-linux",
	}
}
