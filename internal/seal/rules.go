package seal

// rule says what of a tree goes, and why. Patterns are tree.Remove's.
type rule struct {
	why      string
	patterns []string
}

// removed is what belongs to one machine or one build and not to an image.
var removed = []rule{
	{"every clone makes host keys of its own at its first boot", []string{"etc/ssh/ssh_host_*"}},
	{"D-Bus takes the id of /etc/machine-id", []string{"var/lib/dbus/machine-id"}},
	{"random seeds must not be shared", []string{"var/lib/systemd/random-seed", "var/lib/urandom/random-seed", "boot/efi/loader/random-seed"}},
	{"secrets of one machine", []string{
		"var/lib/systemd/credential.secret", "var/lib/NetworkManager/secret_key", "var/lib/private/systemd/**",
	}},
	{"histories of the build", []string{
		"root/.*_history", "home/*/.*_history", "root/.lesshst", "home/*/.lesshst", "root/.viminfo", "home/*/.viminfo",
		"root/.wget-hsts", "home/*/.wget-hsts", "root/.cache", "home/*/.cache", "root/.ansible", "home/*/.ansible",
		"root/.ssh/known_hosts*", "home/*/.ssh/known_hosts*", "root/.sudo_as_admin_successful", "home/*/.sudo_as_admin_successful",
	}},
	{"package caches and lists", []string{
		"var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/cache/apt/archives/partial/*", "var/cache/apt/archives/lock",
		"var/lib/apt/lists/*_*", "var/lib/apt/lists/lock", "var/lib/apt/lists/partial/*", "var/lib/apt/lists/auxfiles/*",
		"var/lib/apt/periodic/*", "var/lib/apt/daily_lock", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock", "etc/.pwd.lock",
		"var/cache/dnf/**", "var/cache/yum/**", "var/lib/dnf/history.sqlite*",
	}},
	{"backups that the package tools make", []string{
		"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "var/lib/dpkg/*-old",
		"var/cache/debconf/*-old", "var/backups/**", "var/lib/ucf/*.[0-9]", "etc/**/*.dpkg-old", "etc/**/*.ucf-old",
	}},
	{"caches that hold inode numbers and times", []string{
		"var/cache/ldconfig/aux-cache", "var/cache/man/**", "var/cache/fontconfig/**", "**/__pycache__",
	}},
	{"DHCP leases", []string{
		"var/lib/dhcp/*.leases*", "var/lib/dhcpcd/**", "var/lib/NetworkManager/*.lease", "var/lib/NetworkManager/timestamps",
		"var/lib/systemd/network/**",
	}},
	{"names of the build's network cards", []string{"etc/udev/rules.d/70-persistent-net.rules", "etc/udev/rules.d/75-persistent-net-generator.rules"}},
	{"traces of a running system", []string{
		"var/lib/systemd/timers/*", "var/lib/systemd/timesync/clock", "var/lib/systemd/coredump/*", "var/lib/systemd/pstore/*",
		"var/lib/systemd/rfkill/*", "var/lib/logrotate/status", "var/lib/sudo/lectured/*", "var/lib/private/systemd/timesync/clock",
		"var/crash/**", "var/spool/mail/*", "var/mail/*", "var/lib/plymouth/boot-duration",
	}},
	{"cloud-init runs again on every clone", []string{
		"var/lib/cloud/instance", "var/lib/cloud/instances/**", "var/lib/cloud/data/**", "var/lib/cloud/sem/**", "var/lib/cloud/seed/**",
	}},
	{"temporary files", []string{"tmp/**", "var/tmp/**", "run/**", "var/run/**", "var/lock/**"}},
	{"device nodes are made at boot", []string{"dev/**"}},
	{"what the kernel shows here", []string{"proc/**", "sys/**"}},
	{"left by an editor or by the build", []string{
		"etc/**/*.swp", "root/.*.swp", "home/*/.*.swp", "root/*~", "etc/**/*~", "usr/sbin/policy-rc.d.imagebuild-saved",
	}},
	{"rotated and per-machine logs", []string{
		"var/log/journal/*", "var/log/**/*.gz", "var/log/**/*.xz", "var/log/**/*.[0-9]", "var/log/**/*.old",
		"var/log/*.gz", "var/log/*.xz", "var/log/*.[0-9]", "var/log/*.old",
		"var/log/apt/*", "var/log/dpkg.log", "var/log/alternatives.log", "var/log/bootstrap.log", "var/log/installer", "var/log/cloud-init*.log",
	}},
}

// madeAtBoot are folders that a running system makes for itself. An empty one
// says no more than that it was booted, and goes, so that an image is the same
// whether it was configured in a machine or in a chroot. Inner ones come first.
var madeAtBoot = []string{
	"var/lib/systemd/linger", "var/lib/systemd/timers",
	"var/lib/cloud/scripts/per-boot", "var/lib/cloud/scripts/per-instance", "var/lib/cloud/scripts/per-once", "var/lib/cloud/scripts/vendor", "var/lib/cloud/scripts",
	"var/lib/cloud/data", "var/lib/cloud/handlers", "var/lib/cloud/instances", "var/lib/cloud/seed", "var/lib/cloud/sem", "var/lib/cloud",
}
