package engine

import "testing"

func TestFirstEntry(t *testing.T) {
	const ours = `set timeout=1
menuentry "Debian" {
  search --no-floppy --fs-uuid --set=root 6b02
  linux /boot/vmlinuz-6.1.0 root=UUID=6b02 ro console=ttyS0
  initrd /boot/initrd.img-6.1.0
}
menuentry "Debian, single" {
  linux /boot/vmlinuz-6.1.0 root=UUID=6b02 single
  initrd /boot/initrd.img-6.1.0
}
`
	kernel, args, initrd, ok := firstEntry(ours)
	if !ok || kernel != "boot/vmlinuz-6.1.0" || args != "root=UUID=6b02 ro console=ttyS0" || initrd != "boot/initrd.img-6.1.0" {
		t.Errorf("%q %q %q %t", kernel, args, initrd, ok)
	}
	for _, other := range []string{
		"", "menuentry x {\n chainloader +1\n}\n",
		"linux /boot/vmlinuz root=$device\ninitrd /boot/initrd.img\n", // only GRUB knows
		"linux /vmlinuz root=UUID=1\ninitrd /initrd.img\n",            // on a partition of its own
		"initrd /boot/initrd.img\nlinux /boot/vmlinuz root=UUID=1\n",
		"linux /boot/vmlinuz root=UUID=1\ninitrd /boot/ucode.img /boot/initrd.img\n",
		"linux /boot/vmlinuz quiet\ninitrd /boot/initrd.img\n",
	} {
		if kernel, args, initrd, ok := firstEntry(other); ok {
			t.Errorf("%q: %q %q %q", other, kernel, args, initrd)
		}
	}
}
